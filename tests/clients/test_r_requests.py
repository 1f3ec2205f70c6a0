"""The requests of MLflow's R client: every scalar is sent as text, numbers as R prints them, nothing that is empty."""

from __future__ import annotations

import uuid

import httpx
import pytest


class R:
    """The R client's way over the wire."""

    def __init__(self, url: str) -> None:
        headers = {"User-Agent": "mlflow-r-client/3.17.2", "Accept": "application/json, text/xml, application/xml, */*"}
        self._client = httpx.Client(base_url=f"{url}/api/2.0/mlflow/", headers=headers, timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def rest(self, method, path, /, **fields):
        """The answer as a dictionary; GET sends the fields as a query."""
        query = {"params": fields} if method == "GET" else {"json": fields}
        answer = self._client.request(method, path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def r(server):
    with R(server.url) as client:
        yield client


@pytest.fixture
def name():
    return f"r {uuid.uuid4().hex}"


@pytest.fixture
def run_id(r, name):
    experiment = r.rest("POST", "experiments/create", name=name)["experiment_id"]
    tags = [{"key": "mlflow.user", "value": "ada"}]
    made = r.rest("POST", "runs/create", experiment_id=experiment, user_id="ada", start_time="1732620000123", tags=tags)
    return made["run"]["info"]["run_uuid"]


def test_experiments(r, name):
    made = r.rest("POST", "experiments/create", name=name)["experiment_id"]
    listed = r.rest("POST", "experiments/search", max_results="1000", view_type="ACTIVE_ONLY")["experiments"]
    assert name in {each["name"] for each in listed}
    found = r.rest("GET", "experiments/get", experiment_id=made)["experiment"]
    assert (found["experiment_id"], found["lifecycle_stage"]) == (made, "active")
    r.rest("POST", "experiments/set-experiment-tag", experiment_id=made, key="a", value="1")
    r.rest("POST", "experiments/update", experiment_id=made, new_name=name + " b")
    r.rest("POST", "experiments/delete", experiment_id=made)
    r.rest("POST", "experiments/restore", experiment_id=made)
    found = r.rest("GET", "experiments/get-by-name", experiment_name=name + " b")["experiment"]
    assert found["tags"] == [{"key": "a", "value": "1"}]


def test_a_run_and_what_is_logged_to_it(r, run_id):
    both = {"run_uuid": run_id, "run_id": run_id}
    at = {"timestamp": "1732620000123"}
    r.rest("POST", "runs/log-metric", **both, key="loss", value="0.123456789012345", **at, step="2")
    # As R prints a hundred thousand, and a round time.
    r.rest("POST", "runs/log-metric", **both, key="loss", value="1e-04", timestamp="1.73263e+12", step="1e+05")
    for value in ("NaN", "Infinity", "-Infinity"):
        r.rest("POST", "runs/log-metric", **both, key=value, value=value, **at, step="0")
    metrics = [{"key": "b", "value": "1", "step": "0", **at}, {"key": "c", "value": "NaN", "step": "3", **at}]
    pairs = [{"key": "p", "value": "1"}]
    r.rest("POST", "runs/log-batch", run_id=run_id, metrics=metrics, params=pairs, tags=pairs)
    r.rest("POST", "runs/log-parameter", **both, key="depth", value="3")
    r.rest("POST", "runs/set-tag", **both, key="t", value="1")
    r.rest("POST", "runs/delete-tag", run_id=run_id, key="t")
    history = r.rest("GET", "metrics/get-history", **both, metric_key="loss")["metrics"]
    assert [(each["step"], each["value"], each["timestamp"]) for each in history] == [
        (2, 0.123456789012345, 1732620000123),
        (100_000, 1e-4, 1732630000000),
    ]
    ended = r.rest("POST", "runs/update", **both, status="FINISHED", end_time="1732620009999")["run_info"]
    assert (ended["run_uuid"], ended["status"], ended["end_time"]) == (run_id, "FINISHED", 1732620009999)
    found = r.rest("GET", "runs/get", **both)["run"]
    values = {each["key"]: each["value"] for each in found["data"]["metrics"]}
    assert values == {
        "loss": 1e-4,
        "NaN": "NaN",
        "Infinity": 1.7976931348623157e308,
        "-Infinity": -1.7976931348623157e308,
        "b": 1.0,
        "c": "NaN",
    }
    assert {each["key"]: each["value"] for each in found["data"]["params"]} == {"p": "1", "depth": "3"}


def test_runs_are_searched_deleted_and_restored(r, run_id):
    experiment = r.rest("GET", "runs/get", run_id=run_id)["run"]["info"]["experiment_id"]
    asked = {"experiment_ids": [experiment], "run_view_type": "ACTIVE_ONLY"}
    assert [each["info"]["run_uuid"] for each in r.rest("POST", "runs/search", **asked)["runs"]] == [run_id]
    ordered = r.rest("POST", "runs/search", **asked, filter="tags.`mlflow.user` = 'ada'", order_by=["start_time DESC"])
    assert len(ordered["runs"]) == 1
    r.rest("POST", "runs/delete", run_id=run_id)
    assert r.rest("POST", "runs/search", **asked) == {}
    r.rest("POST", "runs/restore", run_id=run_id)
    assert len(r.rest("POST", "runs/search", **asked, max_results="100")["runs"]) == 1


def test_files_are_listed(r, server, run_id):
    info = r.rest("GET", "runs/get", run_id=run_id)["run"]["info"]
    assert r.rest("GET", "artifacts/list", run_uuid=run_id, run_id=run_id) == {"root_uri": info["artifact_uri"]}
    below = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    for name in ("a.txt", "plots/b.png"):
        sent = httpx.put(f"{server.url}/api/2.0/mlflow-artifacts/artifacts/{below}/{name}", content=b"abc")
        assert sent.status_code == 200, sent.text
    found = r.rest("GET", "artifacts/list", run_uuid=run_id, run_id=run_id)["files"]
    assert sorted(found, key=lambda each: each["path"]) == [
        {"path": "a.txt", "is_dir": False, "file_size": 3},
        {"path": "plots", "is_dir": True},
    ]
    inside = r.rest("GET", "artifacts/list", run_uuid=run_id, run_id=run_id, path="plots")
    assert [each["path"] for each in inside["files"]] == ["plots/b.png"]


def test_the_registry(r, name):
    tags = [{"key": "a", "value": "1"}]
    made = r.rest("POST", "registered-models/create", name=name, tags=tags, description="who leaves")
    assert made["registered_model"]["name"] == name
    assert r.rest("PATCH", "registered-models/update", name=name, description="who stays")["registered_model"]
    version = r.rest("POST", "model-versions/create", name=name, source="s3://models/churn", tags=tags)
    assert version["model_version"]["version"] == "1"
    assert r.rest("GET", "model-versions/get", name=name, version="1")["model_version"]["current_stage"] == "None"
    r.rest("PATCH", "model-versions/update", name=name, version="1", description="first")
    moved = r.rest(
        "POST",
        "model-versions/transition-stage",
        name=name,
        version="1",
        stage="Production",
        archive_existing_versions="FALSE",
    )
    assert moved["model_version"]["current_stage"] == "Production"
    second = r.rest("POST", "model-versions/create", name=name, source="s3://models/churn")["model_version"]
    moved = r.rest(
        "POST",
        "model-versions/transition-stage",
        name=name,
        version=second["version"],
        stage="Production",
        archive_existing_versions="TRUE",
    )
    latest = r.rest("GET", "registered-models/get-latest-versions", name=name)["model_versions"]
    assert {each["current_stage"]: each["version"] for each in latest} == {"Archived": "1", "Production": "2"}
    found = r.rest("POST", "registered-models/search", filter=f"name = '{name}'", max_results="100", order_by=["name"])
    assert [each["name"] for each in found["registered_models"]] == [name]
    assert r.rest("POST", "registered-models/search", max_results="100")["registered_models"]
    r.rest("POST", "registered-models/alias", name=name, alias="champion", version="2")
    aliased = r.rest("GET", "registered-models/alias", name=name, alias="champion")["model_version"]
    assert aliased["version"] == "2"
    uri = r.rest("GET", "model-versions/get-download-uri", name=name, version="2")
    assert uri == {"artifact_uri": "s3://models/churn"}
    assert r.rest("DELETE", "model-versions/delete", name=name, version="1") == {}
    renamed = r.rest("POST", "registered-models/rename", name=name, new_name=name + " b")
    assert renamed["registered_model"]["name"] == name + " b"
    assert r.rest("DELETE", "registered-models/delete", name=name + " b") == {}
