"""Experiments over the wire, in the words that MLflow's clients look for."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture
def name():
    return f"experiment {uuid.uuid4().hex}"


def test_a_fresh_server_holds_the_default_experiment(api):
    found = api.get("experiments/get", experiment_id="0")["experiment"]
    assert found["name"] == "Default"
    assert found["artifact_location"] == "mlflow-artifacts:/0"
    assert found["lifecycle_stage"] == "active"
    assert "tags" not in found


def test_created_found_renamed_deleted_and_restored(api, name):
    made = api.post("experiments/create", name=name, tags=[{"key": "team", "value": "growth"}])["experiment_id"]
    assert isinstance(made, str)
    by_name = api.get("experiments/get-by-name", experiment_name=name)["experiment"]
    assert by_name["experiment_id"] == made
    assert by_name["tags"] == [{"key": "team", "value": "growth"}]
    assert by_name["artifact_location"] == f"mlflow-artifacts:/{made}"
    assert isinstance(by_name["creation_time"], int)
    assert api.post("experiments/update", experiment_id=made, new_name=name + "!") == {}
    assert api.post("experiments/delete", experiment_id=made) == {}
    deleted = api.get("experiments/get-by-name", experiment_name=name + "!")["experiment"]
    assert deleted["lifecycle_stage"] == "deleted"
    status, code, message = api.refused("experiments/set-experiment-tag", experiment_id=made, key="a", value="b")
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "must be in the 'active' state" in message
    assert api.post("experiments/restore", experiment_id=made) == {}
    assert api.get("experiments/get", experiment_id=made)["experiment"]["lifecycle_stage"] == "active"


def test_a_tag_is_set_and_deleted(api, name):
    made = api.post("experiments/create", name=name)["experiment_id"]
    api.post("experiments/set-experiment-tag", experiment_id=made, key="a", value="b")
    assert api.get("experiments/get", experiment_id=made)["experiment"]["tags"] == [{"key": "a", "value": "b"}]
    api.post("experiments/delete-experiment-tag", experiment_id=made, key="a")
    assert "tags" not in api.get("experiments/get", experiment_id=made)["experiment"]


def test_what_is_refused_says_so_in_mlflows_words(api, name):
    api.post("experiments/create", name=name)
    assert api.refused("experiments/create", name=name)[:2] == (400, "RESOURCE_ALREADY_EXISTS")
    assert f"Experiment(name={name}) already exists" in api.refused("experiments/create", name=name)[2]
    assert "Missing value for required parameter 'name'" in api.refused("experiments/create")[2]
    assert "Invalid value 123 for parameter 'name' supplied" in api.refused("experiments/create", name=123)[2]
    assert "Invalid value \"5\" for parameter 'tags'" in api.refused("experiments/create", name=name, tags="5")[2]
    assert api.refused("experiments/get", "GET", experiment_id="999999") == (
        404,
        "RESOURCE_DOES_NOT_EXIST",
        "No Experiment with id=999999 exists.",
    )
    location = {"name": name + "2", "artifact_location": "s3://bucket/a#b"}
    assert "can't include fragments or params" in api.refused("experiments/create", **location)[2]
    assert api.refused("experiments/create", name=name + "3", artifact_location="mlflow-artifacts:/0/x")[0] == 400


def test_search_by_name_and_tag_page_by_page(api, name):
    made = [api.post("experiments/create", name=f"{name} {n}", tags=[{"key": "n", "value": str(n)}]) for n in range(5)]
    asked = {"filter": f"attribute.name LIKE '{name}%' AND tag.n != '2'", "order_by": ["name DESC"], "max_results": 3}
    first = api.post("experiments/search", **asked)
    assert [each["name"][-1] for each in first["experiments"]] == ["4", "3", "1"]
    second = api.post("experiments/search", **asked, page_token=first["next_page_token"])
    assert [each["experiment_id"] for each in second["experiments"]] == [made[0]["experiment_id"]]
    assert "next_page_token" not in second
    assert api.get("experiments/search", filter="name = 'there is none'", max_results="1000") == {}
    assert "It must be a positive integer" in api.refused("experiments/search", max_results=0)[2]
    assert "It must be at most 50000" in api.refused("experiments/search", max_results=50001)[2]
    bad = api.refused("experiments/search", page_token="evilhax")  # noqa: S106  no password
    assert bad[:2] == (400, "INVALID_PARAMETER_VALUE")
    assert "Invalid page token, could not base64-decode" in bad[2]


def test_the_other_prefix_answers_alike(api):
    answer = api.send("POST", "experiments/search", {"max_results": 1}, prefix="/ajax-api/2.0/mlflow/")
    assert answer.json()["experiments"]


def test_data_sets_of_experiments_are_summed_up(api, name):
    path = "/ajax-api/2.0/mlflow/experiments/search-datasets"
    made = api.post("experiments/create", name=name)["experiment_id"]
    assert api.client.post(path, json={"experiment_ids": [made]}).json() == {}
    dataset = {"name": "churn", "digest": "abc", "source_type": "local", "source": "{}"}
    for context in ("training", "training", "evaluation"):
        run = api.post("runs/create", experiment_id=made)["run"]["info"]["run_id"]
        tags = [{"key": "mlflow.data.context", "value": context}]
        api.post("runs/log-inputs", run_id=run, datasets=[{"dataset": dataset, "tags": tags}])
    found = api.client.post(path, json={"experiment_ids": [made, "0"]}).json()["dataset_summaries"]
    mine = [each for each in found if each["experiment_id"] == made]
    assert sorted(mine, key=lambda each: each["context"]) == [
        {"experiment_id": made, "name": "churn", "digest": "abc", "context": context}
        for context in ("evaluation", "training")
    ]
    for asked, message in (([], "must specify at least one experiment_id"), (["0"] * 21, "Received 21 experiment_ids")):
        refused = api.client.post(path, json={"experiment_ids": asked})
        assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert message in refused.json()["message"]


def test_deleting_and_restoring_takes_the_runs_along(api, name):
    made = api.post("experiments/create", name=name)["experiment_id"]
    runs = [api.post("runs/create", experiment_id=made)["run"]["info"]["run_id"] for _ in range(2)]
    api.post("runs/delete", run_id=runs[0])
    before = api.get("experiments/get", experiment_id=made)["experiment"]["last_update_time"]
    api.post("experiments/delete", experiment_id=made)
    assert api.get("experiments/get", experiment_id=made)["experiment"]["last_update_time"] >= before
    assert api.post("runs/search", experiment_ids=[made]) == {}
    deleted = api.post("runs/search", experiment_ids=[made], run_view_type="DELETED_ONLY")["runs"]
    assert {each["info"]["run_id"] for each in deleted} == set(runs)
    said = api.refused("runs/create", experiment_id=made)[2]
    assert f"The experiment {made} must be in the 'active' state. Current state is deleted." in said
    api.post("experiments/restore", experiment_id=made)
    # Those that were deleted singly before included, as in the reference.
    assert len(api.post("runs/search", experiment_ids=[made])["runs"]) == 2


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("experiments/create", {"name": "x" * 501}, 400, "500"),
        ("experiments/create", {"name": ""}, 400, "500"),
        ("experiments/create", {"name": "a", "artifact_location": 5}, 400, "Invalid value 5 for parameter 'artifact_l"),
        ("experiments/create", {"name": "a", "tags": [{"value": "x"}]}, 400, "required parameter 'tags[0].key'"),
        ("experiments/delete", {}, 400, "Missing value for required parameter 'experiment_id'"),
        ("experiments/delete", {"experiment_id": "999999"}, 404, "No Experiment with id=999999 exists"),
        ("experiments/restore", {"experiment_id": "999999"}, 404, "No Experiment with id=999999 exists"),
        ("experiments/update", {"experiment_id": "0"}, 400, "Missing value for required parameter 'new_name'"),
        ("experiments/set-experiment-tag", {"experiment_id": "0", "key": "a"}, 400, "required parameter 'value'"),
        ("experiments/set-experiment-tag", {"experiment_id": "0", "key": "k" * 251, "value": "a"}, 400, "250"),
        ("experiments/set-experiment-tag", {"experiment_id": "999999", "key": "a", "value": "b"}, 404, "999999"),
        ("experiments/delete-experiment-tag", {"experiment_id": "0", "key": "none"}, 404, "No tag with name: none"),
        ("experiments/search", {"view_type": "NONE"}, 400, "Invalid value \"NONE\" for parameter 'view_type' supplied"),
        ("experiments/search", {"max_results": -1}, 400, "Invalid value -1 for parameter 'max_results' supplied"),
        ("experiments/search", {"order_by": ["colour"]}, 400, "Invalid order by key 'colour' specified"),
        ("experiments/search", {"filter": "colour = 'a'"}, 400, "Invalid attribute key 'colour' specified"),
        ("experiments/search", {"filter": "tags.a > 'b'"}, 400, "Invalid comparison operator"),
        ("experiments/search", {"filter": "name = 'a' OR name = 'b'"}, 400, "separated by 'AND'"),
    ],
)
def test_what_is_wrong_is_named(api, path, body, status, message):
    found, code, said = api.refused(path, **body)
    assert found == status
    assert code == ("RESOURCE_DOES_NOT_EXIST" if status == 404 else "INVALID_PARAMETER_VALUE")
    assert message in said


def test_quoted_keys_and_times_are_searched(api, name):
    tags = [{"key": "a key.with dots", "value": "Yes"}]
    made = api.post("experiments/create", name=name, tags=tags)["experiment_id"]
    for asked in (
        "tag.`a key.with dots` = 'Yes'",
        "tags.\"a key.with dots\" ILIKE 'yes'",
        "tags.`a key.with dots` != 'no'",
        "tags.`a key.with dots` LIKE 'Y%' AND creation_time > 0 AND attribute.`name` != 'Default'",
    ):
        found = api.post("experiments/search", filter=f"{asked} AND name = '{name}'")["experiments"]
        assert [each["experiment_id"] for each in found] == [made]
    assert api.post("experiments/search", filter=f"tags.`a key.with dots` LIKE 'y%' AND name = '{name}'") == {}
