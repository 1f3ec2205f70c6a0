"""Runs, metrics, params and tags over the wire."""

from __future__ import annotations

import math
import uuid

import pytest


@pytest.fixture(scope="module")
def experiment(api):
    return api.post("experiments/create", name=f"runs {uuid.uuid4().hex}")["experiment_id"]


@pytest.fixture
def run_id(api, experiment):
    return api.post("runs/create", experiment_id=experiment, start_time=1)["run"]["info"]["run_id"]


def test_a_run_has_the_shape_that_clients_read(api, experiment):
    tags = [{"key": "mlflow.user", "value": "ada"}]
    made = api.post("runs/create", experiment_id=int(experiment), user_id="ada", start_time="170", tags=tags)["run"]
    info = made["info"]
    assert info["run_id"] == info["run_uuid"]
    assert len(info["run_id"]) == 32
    assert info["experiment_id"] == experiment
    assert (info["status"], info["lifecycle_stage"], info["start_time"]) == ("RUNNING", "active", 170)
    assert info["artifact_uri"] == f"mlflow-artifacts:/{experiment}/{info['run_id']}/artifacts"
    assert "end_time" not in info
    assert "metrics" not in made["data"]
    assert {"key": "mlflow.runName", "value": info["run_name"]} in made["data"]["tags"]
    assert made["inputs"] == {}
    assert api.get("runs/get", run_uuid=info["run_id"])["run"] == made


def test_absent_times_read_as_zero_and_names_agree(api, experiment):
    made = api.post("runs/create", experiment_id=experiment, run_name="first")["run"]["info"]
    assert (made["start_time"], made["user_id"]) == (0, "")
    clash = {"experiment_id": experiment, "run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]}
    assert "Both 'run_name' argument and 'mlflow.runName' tag are specified" in api.refused("runs/create", **clash)[2]
    changed = api.post("runs/update", run_id=made["run_id"], status="FINISHED", end_time="1700000000000")["run_info"]
    assert (changed["status"], changed["end_time"], changed["run_name"]) == ("FINISHED", 1700000000000, "first")
    api.post("runs/set-tag", run_id=made["run_id"], key="mlflow.runName", value="second")
    assert api.get("runs/get", run_id=made["run_id"])["run"]["info"]["run_name"] == "second"


def test_metrics_come_back_as_numbers_and_nan_as_text(api, run_id):
    # As R's client sends it: every scalar a text.
    api.post("runs/log-metric", run_id=run_id, key="loss", value="0.5", timestamp="170", step="2")
    for key, value in (("nan", "NaN"), ("most", "Infinity"), ("least", "-Infinity")):
        api.post("runs/log-metric", run_id=run_id, key=key, value=value, timestamp=1)
    metrics = {each["key"]: each for each in api.get("runs/get", run_id=run_id)["run"]["data"]["metrics"]}
    assert metrics["loss"] == {"key": "loss", "value": 0.5, "timestamp": 170, "step": 2}
    assert metrics["nan"]["value"] == "NaN"
    assert metrics["most"]["value"] == 1.7976931348623157e308 == -metrics["least"]["value"]
    assert math.isfinite(metrics["most"]["value"])


def test_history_pages_and_bulk_reads(api, run_id, experiment):
    points = [{"key": "loss", "value": float(n), "timestamp": n, "step": n} for n in range(500)]
    assert api.post("runs/log-batch", run_id=run_id, metrics=points) == {}
    assert api.get("metrics/get-history", run_id=run_id, metric_key="loss")["metrics"] == points
    first = api.get("metrics/get-history", run_id=run_id, metric_key="loss", max_results=300)
    asked = {"run_id": run_id, "metric_key": "loss", "max_results": 300, "page_token": first["next_page_token"]}
    rest = api.get("metrics/get-history", **asked)
    assert first["metrics"] + rest["metrics"] == points
    assert "next_page_token" not in rest
    assert api.get("metrics/get-history", run_id=run_id, metric_key="none") == {}
    other = api.post("runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
    api.post("runs/log-batch", run_id=other, metrics=points[:3])
    bulk = api.client.get(
        "/ajax-api/2.0/mlflow/metrics/get-history-bulk",
        params={"run_id": [run_id, other], "metric_key": "loss", "max_results": 600},
    ).json()["metrics"]
    assert [(p["run_id"], p["step"]) for p in bulk] == [
        (each, n) for each, count in sorted([(run_id, 500), (other, 3)]) for n in range(count)
    ]
    sampled = api.client.get(
        "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval",
        params={"run_ids": [run_id, other], "metric_key": "loss", "max_results": 10},
    ).json()["metrics"]
    # Ten steps, and the last of the other run too.
    assert 2 <= len([p for p in sampled if p["run_id"] == run_id]) <= 12
    assert {(p["run_id"], p["step"]) for p in sampled} >= {(run_id, 499), (other, 2)}


def test_a_batch_is_taken_whole_or_not_at_all(api, run_id):
    api.post("runs/log-parameter", run_id=run_id, key="a", value="1")
    api.post("runs/log-parameter", run_id=run_id, key="a", value="1")
    metrics = [{"key": "m", "value": 1, "timestamp": 1}]
    status, code, message = api.refused(
        "runs/log-batch", run_id=run_id, metrics=metrics, params=[{"key": "a", "value": "3"}]
    )
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "Changing param values is not allowed" in message
    assert "metrics" not in api.get("runs/get", run_id=run_id)["run"]["data"]
    twice = [{"key": "b", "value": "1"}, {"key": "b", "value": "2"}]
    assert (
        "Duplicate parameter keys have been submitted" in api.refused("runs/log-batch", run_id=run_id, params=twice)[2]
    )
    many = [{"key": "m", "value": n, "timestamp": n} for n in range(1001)]
    said = api.refused("runs/log-batch", run_id=run_id, metrics=many)[2]
    assert "A batch logging request can contain at most 1000 metrics. Got 1001 metrics." in said
    assert api.post("runs/log-batch", run_id=run_id) == {}
    assert api.refused("runs/log-batch", run_id="0" * 32)[:2] == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"metrics": "foo"}, "Invalid value \"foo\" for parameter 'metrics' supplied"),
        ({"metrics": [{"key": "k", "value": 1}]}, "Missing value for required parameter 'metrics[0].timestamp'"),
        ({"metrics": [{"key": "k", "timestamp": 1}]}, "Missing value for required parameter 'metrics[0].value'"),
        (
            {"metrics": [{"key": "k", "value": None, "timestamp": 1}]},
            "Missing value for required parameter 'metrics[0].value'",
        ),
        (
            {"metrics": [{"key": "k", "value": 1, "timestamp": 1, "step": "foo"}]},
            "Invalid value \"foo\" for parameter 'metrics[0].step' supplied",
        ),
        (
            {"metrics": [{"key": "../bad/name", "value": 1, "timestamp": 1}]},
            "Invalid value \"../bad/name\" for parameter 'metrics[0].name' supplied: Names may be treated as files",
        ),
        (
            {"params": [{"key": "a*b", "value": "1"}]},
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( )",
        ),
        ({"metrics": [{"key": "k" * 251, "value": 1, "timestamp": 1}]}, "exceeds the maximum length of 250"),
    ],
)
def test_a_refused_batch_names_the_place(api, run_id, body, message):
    status, code, said = api.refused("runs/log-batch", run_id=run_id, **body)
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message in said


def test_tags_are_set_and_deleted(api, run_id):
    api.post("runs/set-tag", run_id=run_id, key="empty", value="")
    assert {"key": "empty", "value": ""} in api.get("runs/get", run_id=run_id)["run"]["data"]["tags"]
    assert api.post("runs/delete-tag", run_id=run_id, key="empty") == {}
    status, code, message = api.refused("runs/delete-tag", run_id=run_id, key="empty")
    assert (status, code) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert f"No tag with name: empty in run with id {run_id}" in message


def test_a_deleted_run_takes_nothing(api, run_id):
    api.post("runs/delete", run_id=run_id)
    said = api.refused("runs/log-metric", run_id=run_id, key="a", value=1, timestamp=1)[2]
    assert f"The run {run_id} must be in the 'active' state. Current state is deleted." in said
    api.post("runs/restore", run_id=run_id)
    assert api.post("runs/log-metric", run_id=run_id, key="a", value=1, timestamp=1) == {}


def test_inputs_and_outputs(api, run_id, experiment):
    dataset = {"name": "churn", "digest": "abc", "source_type": "local", "source": "{}", "schema": "{}"}
    tags = [{"key": "mlflow.data.context", "value": "training"}]
    model = api.post("logged-models", experiment_id=experiment, source_run_id=run_id)["model"]["info"]["model_id"]
    inputs = {"datasets": [{"dataset": dataset, "tags": tags}], "models": [{"model_id": model}]}
    assert api.post("runs/log-inputs", run_id=run_id, **inputs) == {}
    assert api.post("runs/outputs", run_id=run_id, models=[{"model_id": model, "step": "3"}]) == {}
    found = api.get("runs/get", run_id=run_id)["run"]
    assert found["inputs"] == {
        "dataset_inputs": [{"dataset": dataset, "tags": tags}],
        "model_inputs": [{"model_id": model}],
    }
    assert found["outputs"] == {"model_outputs": [{"model_id": model, "step": 3}]}
    too_long = {"datasets": [{"dataset": {**dataset, "digest": "x" * 37}}]}
    assert "'digest' exceeds the maximum length of 36" in api.refused("runs/log-inputs", run_id=run_id, **too_long)[2]
    assert "Missing value for required parameter 'run_id'" in api.refused("runs/log-inputs", **inputs)[2]


def test_search_filters_orders_and_pages(api):
    experiment = api.post("experiments/create", name=f"search {uuid.uuid4().hex}")["experiment_id"]
    for n in range(5):
        run = api.post("runs/create", experiment_id=experiment, start_time=n, run_name=f"r{n}")["run"]["info"]["run_id"]
        params = [{"key": "even", "value": str(n % 2 == 0)}]
        api.post("runs/log-batch", run_id=run, metrics=[{"key": "m", "value": n, "timestamp": 1}], params=params)

    def names(answer):
        return [each["info"]["run_name"] for each in answer.get("runs", [])]

    assert names(api.post("runs/search", experiment_ids=[experiment])) == ["r4", "r3", "r2", "r1", "r0"]
    asked = {"experiment_ids": [experiment], "filter": "metrics.m > 0.5 and params.even = 'True'"}
    assert names(api.post("runs/search", **asked, order_by=["metrics.m ASC"])) == ["r2", "r4"]
    first = api.post("runs/search", experiment_ids=[experiment], max_results=3)
    rest = api.post("runs/search", experiment_ids=[experiment], max_results=3, page_token=first["next_page_token"])
    assert names(first) + names(rest) == ["r4", "r3", "r2", "r1", "r0"]
    assert "next_page_token" not in rest
    assert api.post("runs/search") == {}
    for text in ("bad", "metrics.m > 'x'", "params.even = True", "m = 1 OR m = 2"):
        assert api.refused("runs/search", experiment_ids=[experiment], filter=text)[:2] == (
            400,
            "INVALID_PARAMETER_VALUE",
        )
    said = api.refused("runs/search", experiment_ids=[experiment], order_by=["this is wrong"])[2]
    assert "Invalid order_by clause" in said
