"""Logged models over the wire."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture(scope="module")
def experiment(api):
    return api.post("experiments/create", name=f"logged {uuid.uuid4().hex}")["experiment_id"]


@pytest.fixture
def model_id(api, experiment):
    return api.post("logged-models", experiment_id=experiment, name="m")["model"]["info"]["model_id"]


def test_a_logged_model_has_the_shape_that_clients_read(api, experiment):
    pairs = [{"key": "a", "value": "1"}]
    asked = {"name": "forest", "model_type": "tree", "source_run_id": "r", "params": pairs, "tags": pairs}
    made = api.post("logged-models", experiment_id=experiment, **asked)["model"]
    model_id = made["info"]["model_id"]
    assert model_id.startswith("m-")
    assert len(model_id) == 34
    assert made["info"] | {"creation_timestamp_ms": 0, "last_updated_timestamp_ms": 0} == {
        "model_id": model_id,
        "experiment_id": experiment,
        "name": "forest",
        "creation_timestamp_ms": 0,
        "last_updated_timestamp_ms": 0,
        "artifact_uri": f"mlflow-artifacts:/{experiment}/models/{model_id}/artifacts",
        "status": "LOGGED_MODEL_PENDING",
        "model_type": "tree",
        "source_run_id": "r",
        "tags": pairs,
    }
    assert made["data"] == {"params": pairs}
    assert api.get(f"logged-models/{model_id}", model_id=model_id)["model"] == made
    # As the Python client sends it: the id again in the body.
    body = {"model_id": model_id, "status": "LOGGED_MODEL_READY"}
    ready = api.send("PATCH", f"logged-models/{model_id}", body).json()["model"]
    assert ready["info"]["status"] == "LOGGED_MODEL_READY"


def test_without_a_name_one_is_made_up(api, experiment):
    for given in ({}, {"name": ""}):
        assert api.post("logged-models", experiment_id=experiment, **given)["model"]["info"]["name"]


def test_tags_come_and_go_whatever_their_name(api, model_id):
    tags = [{"key": key, "value": "1"} for key in ("a", "a/b", "a b%")]
    assert api.send("PATCH", f"logged-models/{model_id}/tags", {"tags": tags}).json() == {}
    for key in ("a", "a/b", "a%20b%25"):
        gone = api.client.delete(f"/api/2.0/mlflow/logged-models/{model_id}/tags/{key}")
        assert (gone.status_code, gone.json()) == (200, {})
    assert "tags" not in api.get(f"logged-models/{model_id}")["model"]["info"]
    status, code, said = api.refused(f"logged-models/{model_id}/tags/a", "DELETE")
    assert (status, code) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert f"No tag with key 'a' found for model with ID '{model_id}'." in said


def test_params_never_change(api, model_id):
    path = f"logged-models/{model_id}/params"
    for _ in range(2):
        assert api.post(path, params=[{"key": "a", "value": "1"}]) == {}
    assert "Changing param values is not allowed" in api.refused(path, params=[{"key": "a", "value": "2"}])[2]


def test_what_is_deleted_or_never_was_is_404(api, experiment, model_id):
    assert api.send("DELETE", f"logged-models/{model_id}", {"model_id": model_id}).json() == {}
    for each in (model_id, "m-none"):
        for method, path, body in (
            ("GET", "", {}),
            ("PATCH", "", {"status": "LOGGED_MODEL_READY"}),
            ("DELETE", "", {}),
            ("PATCH", "/tags", {"tags": [{"key": "a", "value": "b"}]}),
            ("POST", "/params", {"params": [{"key": "a", "value": "b"}]}),
        ):
            status, code, said = api.refused(f"logged-models/{each}{path}", method, **body)
            assert (status, code) == (404, "RESOURCE_DOES_NOT_EXIST")
            assert f"Logged model with ID '{each}' not found." in said
    listed = api.post("logged-models/search", experiment_ids=[experiment], filter=f"model_id = '{model_id}'")
    assert listed == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": "my'model"}, 'Invalid model name ("my\'model") provided. Model name must be a non-empty string and'),
        ({"name": "a/b"}, "cannot contain the following characters"),
        ({"name": 5}, "Invalid value 5 for parameter 'name' supplied"),
        ({"experiment_id": None}, "Missing value for required parameter 'experiment_id'"),
    ],
)
def test_a_model_that_is_none_is_refused(api, experiment, body, message):
    status, code, said = api.refused("logged-models", **{"experiment_id": experiment, **body})
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message in said


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"experiment_ids": []}, "Missing value for required parameter 'experiment_ids'"),
        ({"page_token": "invalid_token"}, "Invalid page token"),
        ({"filter": "name = 'a' OR name = 'b'"}, "Expected a list of comparisons separated by 'AND'"),
        (
            {"filter": "name > 'a'"},
            "Invalid comparison operator for attributes.name: '>'. Expected one of ('=', '!=', 'LIKE', 'ILIKE', 'IN', ",
        ),
        (
            {"filter": "foo.bar = 'a'"},
            "Invalid entity type: 'foo'. Expected one of ['attributes', 'metrics', 'params', 'tags'].",
        ),
        ({"order_by": [{}]}, "Missing value for required parameter 'order_by[0].field_name'"),
        ({"datasets": [{}]}, "Missing value for required parameter 'datasets[0].dataset_name'"),
    ],
)
def test_a_search_that_is_none_is_refused(api, experiment, body, message):
    status, code, said = api.refused("logged-models/search", **{"experiment_ids": [experiment], **body})
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message in said


def test_a_token_belongs_to_its_search(api):
    experiment = api.post("experiments/create", name=f"tokens {uuid.uuid4().hex}")["experiment_id"]
    made = [api.post("logged-models", experiment_id=experiment)["model"]["info"]["model_id"] for _ in range(3)]
    asked = {"experiment_ids": [experiment], "max_results": 2}
    first = api.post("logged-models/search", **asked)
    token = {"page_token": first["next_page_token"]}
    rest = api.post("logged-models/search", **asked, **token)
    found = [each["info"]["model_id"] for each in first["models"] + rest["models"]]
    assert (found, "next_page_token" in rest) == (made[::-1], False)
    for other, message in (
        ({"experiment_ids": ["0"]}, "Experiment IDs in the page token do not match the requested experiment IDs."),
        ({"filter": "name = 'm'"}, "page token does not match the requested filter"),
        ({"order_by": [{"field_name": "name"}]}, "page token does not match the requested order"),
    ):
        assert message in api.refused("logged-models/search", **{**asked, **token, **other})[2]


def test_metrics_of_data_sets_are_filtered_and_ordered_apart(api, experiment):
    run = api.post("runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
    experiment_ids, models = [experiment], []
    for train, test in ((0.9, 0.5), (0.8, 0.7)):
        model = api.post("logged-models", experiment_id=experiment, name="scored")["model"]["info"]["model_id"]
        for name, value in (("train", train), ("test", test)):
            data = {"model_id": model, "dataset_name": name, "dataset_digest": "d"}
            api.post("runs/log-metric", run_id=run, key="auc", value=value, timestamp=1, **data)
        models.append(model)

    def search(**asked):
        found = api.post("logged-models/search", experiment_ids=experiment_ids, **asked).get("models", [])
        return [each["info"]["model_id"] for each in found if each["info"]["name"] == "scored"]

    test = {"dataset_name": "test", "dataset_digest": "d"}
    assert set(search(filter="metrics.auc > 0.75")) == set(models)
    assert search(filter="metrics.auc > 0.6", datasets=[test]) == [models[1]]
    by_test = [{"field_name": "metrics.auc", "ascending": "FALSE", **test}]
    assert search(order_by=by_test) == models[::-1]
    by_train = [{"field_name": "metrics.auc", "ascending": False, "dataset_name": "train", "dataset_digest": "d"}]
    assert search(order_by=by_train) == models
    assert len(api.get(f"logged-models/{models[0]}")["model"]["data"]["metrics"]) == 2
