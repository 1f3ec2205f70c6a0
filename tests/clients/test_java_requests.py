"""The requests of MLflow's Java client, printed and read as it does: by protobuf's JSON over MLflow's own messages."""

from __future__ import annotations

import uuid

import httpx
import pytest
from google.protobuf import json_format


class Java:
    """The Java client's way over the wire; an answer with an unknown field or enum is a failure here."""

    def __init__(self, url: str) -> None:
        agent = {"User-Agent": "mlflow-java-client/3.17.2"}
        self._client = httpx.Client(base_url=f"{url}/api/2.0/mlflow/", headers=agent, timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self, method, path, message, response=None):
        """Send a message as a body; 64-bit integers are printed as texts."""
        text = json_format.MessageToJson(message, preserving_proto_field_name=True)
        headers = {"Content-Type": "application/json"}
        answer = self._client.request(method, path, content=text.encode(), headers=headers)
        return self._read(answer, response)

    def get(self, path, response, *query):
        return self._read(self._client.get(path, params=list(query)), response)

    def _read(self, answer, response):
        assert answer.status_code == 200, answer.text
        return json_format.Parse(answer.text, response()) if response else answer.json()


@pytest.fixture(scope="module")
def java(server):
    with Java(server.url) as client:
        yield client


@pytest.fixture
def run(java, service, name):
    """The info of a new run in a new experiment."""
    made = java.send(
        "POST", "experiments/create", service.CreateExperiment(name=name), service.CreateExperiment.Response
    )
    begun = service.CreateRun(experiment_id=made.experiment_id, user_id="ada", start_time=1_732_620_000_123)
    return java.send("POST", "runs/create", begun, service.CreateRun.Response).run.info


@pytest.fixture(scope="module")
def service(mlflow):
    from mlflow.protos import service_pb2

    return service_pb2


@pytest.fixture(scope="module")
def registry(mlflow):
    from mlflow.protos import model_registry_pb2

    return model_registry_pb2


@pytest.fixture
def name():
    return f"java {uuid.uuid4().hex}"


def test_experiments(java, service, name):
    created = java.send(
        "POST", "experiments/create", service.CreateExperiment(name=name), service.CreateExperiment.Response
    )
    query = ("experiment_id", created.experiment_id)
    found = java.get("experiments/get", service.GetExperiment.Response, query).experiment
    assert (found.name, found.lifecycle_stage) == (name, "active")
    assert found.artifact_location == f"mlflow-artifacts:/{created.experiment_id}"
    asked = service.SearchExperiments(max_results=1000, view_type=service.ACTIVE_ONLY, filter=f"name = '{name}'")
    listed = java.send("POST", "experiments/search", asked, service.SearchExperiments.Response)
    assert [each.experiment_id for each in listed.experiments] == [created.experiment_id]
    assert not listed.HasField("next_page_token")
    tag = service.SetExperimentTag(experiment_id=created.experiment_id, key="a", value="")
    assert java.send("POST", "experiments/set-experiment-tag", tag) == {}
    renamed = service.UpdateExperiment(experiment_id=created.experiment_id, new_name=name + " b")
    assert java.send("POST", "experiments/update", renamed) == {}
    java.send("POST", "experiments/delete", service.DeleteExperiment(experiment_id=created.experiment_id))
    java.send("POST", "experiments/restore", service.RestoreExperiment(experiment_id=created.experiment_id))
    by_name = ("experiment_name", name + " b")
    found = java.get("experiments/get-by-name", service.GetExperimentByName.Response, by_name).experiment
    assert [(tag.key, tag.value) for tag in found.tags] == [("a", "")]


def test_a_run_and_what_is_logged_to_it(java, service, run):
    both = {"run_uuid": run.run_id, "run_id": run.run_id}
    for number, value in enumerate((0.5, float("nan"), float("inf"))):
        point = service.LogMetric(**both, key=f"m{number}", value=value, timestamp=1_732_620_000_123, step=-number)
        assert java.send("POST", "runs/log-metric", point) == {}
    java.send("POST", "runs/log-parameter", service.LogParam(**both, key="p", value=""))
    java.send("POST", "runs/set-tag", service.SetTag(**both, key="t", value="1"))
    batch = service.LogBatch(
        run_id=run.run_id,
        metrics=[service.Metric(key="b", value=n, timestamp=n, step=n) for n in range(3)],
        params=[service.Param(key="q", value="2")],
        tags=[service.RunTag(key="u", value="3")],
    )
    assert java.send("POST", "runs/log-batch", batch) == {}
    java.send("POST", "runs/delete-tag", service.DeleteTag(run_id=run.run_id, key="t"))
    ended = service.UpdateRun(**both, status=service.FINISHED, end_time=1_732_620_001_000)
    info = java.send("POST", "runs/update", ended, service.UpdateRun.Response).run_info
    assert (info.status, info.end_time, info.run_uuid) == (service.FINISHED, 1_732_620_001_000, run.run_id)
    found = java.get("runs/get", service.GetRun.Response, *both.items()).run
    metrics = {each.key: (each.value, each.step) for each in found.data.metrics}
    assert metrics["m0"] == (0.5, 0)
    assert metrics["m1"][0] != metrics["m1"][0]
    assert metrics["m2"] == (1.7976931348623157e308, -2)
    assert metrics["b"] == (2.0, 2)
    assert {each.key: each.value for each in found.data.params} == {"p": "", "q": "2"}
    assert {each.key: each.value for each in found.data.tags}.items() >= {"u": "3"}.items()
    assert (found.info.start_time, found.info.user_id) == (1_732_620_000_123, "ada")


def test_a_history_is_paged_until_no_token_comes(java, service, run):
    points = [service.Metric(key="loss", value=n, timestamp=n, step=n) for n in range(1000)]
    for start in range(0, 26_000, 1000):
        for number, point in enumerate(points, start):
            point.step = point.timestamp = number
        java.send("POST", "runs/log-batch", service.LogBatch(run_id=run.run_id, metrics=points))
    steps, tokens, query = [], 0, [("run_id", run.run_id), ("metric_key", "loss"), ("max_results", "25000")]
    page = java.get("metrics/get-history", service.GetMetricHistory.Response, *query)
    steps += [each.step for each in page.metrics]
    while page.next_page_token:
        tokens += 1
        page = java.get(
            "metrics/get-history", service.GetMetricHistory.Response, *query, ("page_token", page.next_page_token)
        )
        steps += [each.step for each in page.metrics]
    assert steps == list(range(26_000))
    assert tokens == 1


def test_a_search_of_runs_ends_without_a_token(java, service, run):
    asked = service.SearchRuns(
        experiment_ids=[run.experiment_id], filter="", run_view_type=service.ACTIVE_ONLY, max_results=1, order_by=[]
    )
    page = java.send("POST", "runs/search", asked, service.SearchRuns.Response)
    assert [each.info.run_id for each in page.runs] == [run.run_id]
    assert not page.next_page_token
    java.send("POST", "runs/delete", service.DeleteRun(run_id=run.run_id))
    assert not java.send("POST", "runs/search", asked, service.SearchRuns.Response).runs
    java.send("POST", "runs/restore", service.RestoreRun(run_id=run.run_id))


def test_files_are_listed(java, service, run):
    for query in (("run_id", run.run_id), ("run_uuid", run.run_id)):
        found = java.get("artifacts/list", service.ListArtifacts.Response, query)
        assert (found.root_uri, list(found.files)) == (run.artifact_uri, [])
    found = java.get("artifacts/list", service.ListArtifacts.Response, ("run_id", run.run_id), ("path", "model"))
    assert found.root_uri == run.artifact_uri


def test_the_registry(java, registry, name):
    java.send("POST", "registered-models/create", registry.CreateRegisteredModel(name=name))
    source = "s3://models/churn"
    for _ in range(2):
        made = registry.CreateModelVersion(name=name, run_id=uuid.uuid4().hex, source=source)
        version = java.send("POST", "model-versions/create", made, registry.CreateModelVersion.Response).model_version
    assert (version.version, version.status) == ("2", registry.READY)
    staged = registry.TransitionModelVersionStage(name=name, version="1", stage="Production")
    java.send("POST", "model-versions/transition-stage", staged)
    latest = java.get("registered-models/get-latest-versions", registry.GetLatestVersions.Response, ("name", name))
    assert {each.current_stage: each.version for each in latest.model_versions} == {"Production": "1", "None": "2"}
    some = [("name", name), ("stages", "Production"), ("stages", "Staging")]
    latest = java.get("registered-models/get-latest-versions", registry.GetLatestVersions.Response, *some)
    assert [each.version for each in latest.model_versions] == ["1"]
    one = [("name", name), ("version", "1")]
    uri = java.get("model-versions/get-download-uri", registry.GetModelVersionDownloadUri.Response, *one)
    assert uri.artifact_uri == source
    assert java.get("model-versions/get", registry.GetModelVersion.Response, *one).model_version.version == "1"
    model = java.get("registered-models/get", registry.GetRegisteredModel.Response, ("name", name)).registered_model
    assert len(model.latest_versions) == 2
    java.send("PATCH", "model-versions/update", registry.UpdateModelVersion(name=name, version="1"))
    asked = ("filter", f"name='{name}'")
    listed = java.get("model-versions/search", registry.SearchModelVersions.Response, asked)
    assert sorted(each.version for each in listed.model_versions) == ["1", "2"]


def test_an_unknown_path_is_404_and_a_wrong_method_405(server):
    for path in ("/api/2.0/mlflow/nothing/here", "/api/2.0/mlflow/"):
        assert httpx.get(server.url + path).status_code == 404
    assert httpx.get(f"{server.url}/api/2.0/mlflow/runs/create").status_code == 405
