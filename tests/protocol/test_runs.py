"""Runs, metrics, params and tags over the wire."""

from __future__ import annotations

import json
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
        (
            {"metrics": [{"key": "k" * 251, "value": 1, "timestamp": 1}]},
            "'Metric name' exceeds the maximum length of 250 characters",
        ),
        ({"params": [{"key": "ok"}, {"key": "/abs"}]}, "Invalid value \"/abs\" for parameter 'params[1].key' supplied"),
        ({"tags": [{"key": "a//b"}]}, "for parameter 'tags[0].key' supplied: Names may be treated as files in certain"),
        ({"tags": [{"key": "t" * 251}]}, "'tags[0].key' exceeds the maximum length of 250 characters"),
        ({"params": [{"value": "1"}]}, "Missing value for required parameter 'params[0].key'"),
        ({"params": [{"key": f"p{n}"} for n in range(101)]}, "at most 100 params. Got 101 params. Please split up"),
        ({"tags": [{"key": f"t{n}"} for n in range(101)]}, "at most 100 tags. Got 101 tags. Please split up"),
        (
            {
                "metrics": [{"key": "m", "value": 1, "timestamp": 1}] * 950,
                "tags": [{"key": f"t{n}"} for n in range(51)],
            },
            "at most 1000 metrics, params and tags altogether. Got 1001",
        ),
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


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("log-metric", {"value": 1, "timestamp": 1}, "Missing value for required parameter 'key'"),
        ("log-metric", {"key": "a", "timestamp": 1}, "Missing value for required parameter 'value'"),
        ("log-metric", {"key": "a", "value": 1}, "Missing value for required parameter 'timestamp'"),
        ("log-metric", {"key": "a", "value": "foo", "timestamp": 1}, "Invalid value \"foo\" for parameter 'value'"),
        ("log-metric", {"key": "a", "value": 1, "timestamp": 1.5}, "Invalid value 1.5 for parameter 'timestamp'"),
        ("log-metric", {"key": "a", "value": 1, "timestamp": 2**63}, "for parameter 'timestamp' supplied"),
        ("log-metric", {"key": "../a", "value": 1, "timestamp": 1}, "Invalid value \"../a\" for parameter 'name'"),
        ("log-parameter", {"key": "a*b", "value": "1"}, "Invalid value \"a*b\" for parameter 'key' supplied"),
        ("log-parameter", {"key": "k" * 251, "value": "1"}, "'Param key' exceeds the maximum length of 250"),
        ("log-parameter", {"key": "a", "value": 5}, "Invalid value 5 for parameter 'value' supplied"),
        ("set-tag", {"key": "./a", "value": "1"}, "This name would resolve to 'a'."),
        ("update", {"status": "NONE"}, "Invalid value \"NONE\" for parameter 'status' supplied"),
        ("log-model", {"model_json": "{"}, "'model_json' is no JSON"),
        ("log-model", {"model_json": "{}"}, "missing mandatory fields: ['artifact_path', 'flavors', 'run_id', 'utc_"),
        ("log-inputs", {"datasets": [{}]}, "Missing value for required parameter 'datasets[0].dataset'"),
        ("log-inputs", {"datasets": "all"}, "Invalid value \"all\" for parameter 'datasets' supplied"),
        ("outputs", {"models": [{}]}, "Missing value for required parameter 'models[0].model_id'"),
    ],
)
def test_what_is_wrong_is_named(api, run_id, path, body, message):
    status, code, said = api.refused(f"runs/{path}", run_id=run_id, **body)
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message in said


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("update", {"status": "FAILED"}),
        ("delete", {}),
        ("restore", {}),
        ("log-metric", {"key": "a", "value": 1, "timestamp": 1}),
        ("log-parameter", {"key": "a", "value": "1"}),
        ("set-tag", {"key": "a", "value": "1"}),
        ("delete-tag", {"key": "a"}),
        ("log-batch", {}),
        ("log-inputs", {}),
        ("outputs", {}),
    ],
)
def test_a_run_that_is_not_there_is_404(api, path, body):
    unknown = uuid.uuid4().hex
    status, code, said = api.refused(f"runs/{path}", run_id=unknown, **body)
    assert (status, code) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert f"Run with id={unknown} not found" in said


def test_logged_models_are_noted_in_a_tag(api, run_id):
    model = {"artifact_path": "m", "flavors": {"python_function": {}}, "utc_time_created": "now", "run_id": run_id}
    for path in ("m", "n"):
        assert api.post("runs/log-model", run_id=run_id, model_json=json.dumps(model | {"artifact_path": path})) == {}
    tags = {each["key"]: each["value"] for each in api.get("runs/get", run_id=run_id)["run"]["data"]["tags"]}
    assert [each["artifact_path"] for each in json.loads(tags["mlflow.log-model.history"])] == ["m", "n"]


def test_what_is_too_long_is_cut_and_what_is_empty_kept(api, run_id):
    api.post("runs/log-parameter", run_id=run_id, key="long", value="x" * 6001)
    api.post("runs/log-parameter", run_id=run_id, key="empty", value="")
    api.post("runs/set-tag", run_id=run_id, key="long", value="x" * 8001)
    data = api.get("runs/get", run_id=run_id)["run"]["data"]
    assert {each["key"]: len(each["value"]) for each in data["params"]} == {"long": 6000, "empty": 0}
    assert {"key": "long", "value": "x" * 8000} in data["tags"]


def test_the_current_value_is_that_of_the_last_step_and_time(api, run_id):
    for step, timestamp, value in ((1, 5, 0.1), (3, 1, 0.2), (3, 2, 0.3), (3, 2, 0.25), (-7, 9, 0.4), (3, 2, 0.3)):
        api.post("runs/log-metric", run_id=run_id, key="m", value=value, timestamp=timestamp, step=step)
    [current] = api.get("runs/get", run_id=run_id)["run"]["data"]["metrics"]
    assert (current["value"], current["step"]) == (0.3, 3)
    points = api.get("metrics/get-history", run_id=run_id, metric_key="m")["metrics"]
    assert [(each["timestamp"], each["step"], each["value"]) for each in points] == [
        (1, 3, 0.2),
        (2, 3, 0.25),
        (2, 3, 0.3),
        (5, 1, 0.1),
        (9, -7, 0.4),
    ]


def test_a_data_set_is_one_of_its_name_and_digest(api, run_id):
    def log(**more):
        dataset = {"name": "churn", "digest": "abc", "source_type": "local", "source": "first"} | more
        tags = [{"key": "mlflow.data.context", "value": more.get("source", "training")}]
        api.post("runs/log-inputs", run_id=run_id, datasets=[{"dataset": dataset, "tags": tags}])

    log()
    log(source="second")
    log(digest="def")
    found = api.get("runs/get", run_id=run_id)["run"]["inputs"]["dataset_inputs"]
    assert [(each["dataset"]["digest"], each["dataset"]["source"]) for each in found] == [
        ("abc", "first"),
        ("def", "first"),
    ]
    assert found[0]["tags"] == [{"key": "mlflow.data.context", "value": "training"}]


@pytest.mark.parametrize(
    "filter",
    [
        'metric.`m 1` > 0.5 and params.p = "it\'s"',
        "parameters.p LIKE 'it%' and attribute.run_name = 'asked'",
        "parameter.p ILIKE 'IT%'",
        "`Run name` = 'asked'",
        "run.`run name` LIKE 'ask%'",
        "attr.created > 5 AND Created < 50",
        "status = 'RUNNING' and user_id = 'ada'",
        "attributes.run_id IN ('{run}', 'other')",
        "attributes.run_id NOT IN ('other')",
        "tags.\"a.b c\" = 'x' AND tag.`a.b c` != 'y'",
        "artifact_uri ILIKE '%{run}%'",
        "dataset.name = 'churn' AND datasets.digest IN ('abc') AND datasets.context = 'training'",
    ],
)
def test_the_language_of_filters(api, asked, filter):
    experiment, run = asked
    found = api.post("runs/search", experiment_ids=[experiment], filter=filter.format(run=run))["runs"]
    assert [each["info"]["run_id"] for each in found] == [run]


@pytest.mark.parametrize("filter", ["params.p LIKE 'IT%'", "tags.`a.b c` != 'x'", "tags.none != 'x'", "end_time > 0"])
def test_what_a_filter_leaves_out(api, asked, filter):
    assert api.post("runs/search", experiment_ids=[asked[0]], filter=filter) == {}


@pytest.fixture(scope="module")
def asked(api):
    """An experiment with one run, which the filters look for."""
    experiment = api.post("experiments/create", name=f"filters {uuid.uuid4().hex}")["experiment_id"]
    tags = [{"key": "a.b c", "value": "x"}]
    made = api.post("runs/create", experiment_id=experiment, run_name="asked", user_id="ada", start_time=10, tags=tags)
    run = made["run"]["info"]["run_id"]
    metrics = [{"key": "m 1", "value": 0.75, "timestamp": 1}]
    api.post("runs/log-batch", run_id=run, metrics=metrics, params=[{"key": "p", "value": "it's"}])
    dataset = {"name": "churn", "digest": "abc", "source_type": "local", "source": "{}"}
    context = [{"key": "mlflow.data.context", "value": "training"}]
    api.post("runs/log-inputs", run_id=run, datasets=[{"dataset": dataset, "tags": context}])
    return experiment, run
