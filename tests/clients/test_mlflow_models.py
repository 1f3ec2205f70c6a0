"""Models of scikit-learn by MLflow's client: logged, by hand and by autolog, registered, and loaded again."""

from __future__ import annotations

import uuid

import pytest

# What MLflow says of pickles, of its own old functions, and of pandas.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def data():
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True, as_frame=True)


@pytest.fixture(scope="module")
def fitted(data):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=200).fit(*data)


def test_a_model_is_logged_registered_and_loaded(mlflow, client, experiment, fitted, data):
    name = f"iris {uuid.uuid4().hex}"
    features = data[0]
    with mlflow.start_run() as run:
        logged = mlflow.sklearn.log_model(
            fitted,
            name="model",
            signature=mlflow.models.infer_signature(features),
            registered_model_name=name,
            pip_requirements=[],
        )
        mlflow.log_metric("auc", 0.9)
    found = mlflow.get_logged_model(logged.model_id)
    assert (found.status, found.source_run_id, found.name) == ("READY", run.info.run_id, "model")
    assert [(each.key, each.value) for each in found.metrics] == [("auc", 0.9)]
    assert [each.model_id for each in client.get_run(run.info.run_id).outputs.model_outputs] == [logged.model_id]
    version = client.get_model_version(name, "1")
    assert (version.run_id, version.source, version.status) == (run.info.run_id, logged.model_uri, "READY")
    for uri in (logged.model_uri, f"models:/{name}/1", f"models:/{name}/latest", f"runs:/{run.info.run_id}/model"):
        assert list(mlflow.sklearn.load_model(uri).predict(features[:3])) == [0, 0, 0]
    client.set_registered_model_alias(name, "champion", "1")
    loaded = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    assert list(loaded.predict(features[-2:])) == [2, 2]
    assert loaded.metadata.signature.inputs.input_names() == list(features.columns)
    assert mlflow.models.get_model_info(f"models:/{name}/1").model_id == logged.model_id


def test_a_model_is_registered_later_and_copied(mlflow, client, experiment, fitted, data):
    name = f"later {uuid.uuid4().hex}"
    with mlflow.start_run() as run:
        logged = mlflow.sklearn.log_model(fitted, name="late", pip_requirements=[])
    first = mlflow.register_model(logged.model_uri, name, tags={"a": "1"})
    second = mlflow.register_model(f"runs:/{run.info.run_id}/late", name)
    assert (int(first.version), int(second.version)) == (1, 2)
    copied = client.copy_model_version(f"models:/{name}/1", name + " copied")
    place = client.get_model_version_download_uri(copied.name, copied.version)
    assert place == client.get_model_version_download_uri(name, "1") == found_location(client, logged)
    assert list(mlflow.sklearn.load_model(f"models:/{copied.name}/1").predict(data[0][:1])) == [0]


def test_autolog_records_fits_with_their_models(mlflow, client, experiment, data, monkeypatch):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    # Else the client looks for requirements in another process, for each model and for ten seconds.
    monkeypatch.setenv("MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT", "1")
    mlflow.sklearn.autolog(silent=True)
    try:
        with mlflow.start_run() as run:
            model = RandomForestClassifier(n_estimators=3, random_state=1).fit(*data)
            model.score(*data)
        search = GridSearchCV(RandomForestClassifier(n_estimators=2, random_state=1), {"max_depth": [1, 2]}, cv=2)
        search.fit(*data)
    finally:
        mlflow.sklearn.autolog(disable=True)
    found = client.get_run(run.info.run_id)
    assert found.data.params["n_estimators"] == "3"
    assert {"training_score", "training_f1_score"} < set(found.data.metrics)
    assert found.data.metrics["training_score"] > 0.9
    assert found.inputs.dataset_inputs[0].dataset.digest
    assert {"estimator.html", "metric_info.json", "training_confusion_matrix.png"} <= {
        each.path for each in client.list_artifacts(run.info.run_id)
    }
    [output] = found.outputs.model_outputs
    loaded = mlflow.sklearn.load_model(f"models:/{output.model_id}")
    assert list(loaded.predict(data[0][:2])) == [0, 0]
    runs = client.search_runs([experiment.experiment_id], "params.best_max_depth != ''")
    assert len(runs) == 1
    children = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{runs[0].info.run_id}'")
    assert {each.data.params["max_depth"] for each in children} == {"1", "2"}


def test_a_model_that_lies_elsewhere_is_noted(mlflow, client, experiment):
    made = mlflow.create_external_model("agent", tags={"team": "growth"}, params={"depth": "3"}, model_type="agent")
    assert (made.name, made.status) == ("agent", "READY")
    found = client.get_logged_model(made.model_id)
    assert (found.name, found.model_type, found.experiment_id) == ("agent", "agent", experiment.experiment_id)
    assert found.params == {"depth": "3"}
    assert found.tags["team"] == "growth"
    assert [each.path for each in client.list_logged_model_artifacts(made.model_id)] == ["MLmodel"]


def found_location(client, logged):
    return client.get_logged_model(logged.model_id).artifact_location
