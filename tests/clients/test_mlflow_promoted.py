"""Models that MLflow's client logs and registers are resolved, fetched, judged and promoted by ours."""

from __future__ import annotations

import uuid

import pytest

from prefect_ml.entities import RequestStatus
from prefect_ml.errors import ArtifactError, CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.registry import promotion
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.registry.register import register_model
from prefect_ml.registry.resolve import fetch, load, resolve
from prefect_ml.serving.replica import load_replica
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

# What MLflow says of pickles, of its own old functions, and of pandas.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def logged(mlflow):
    """A logged model that is registered three times: by its id, as a copy of that version, and by its run."""
    from mlflow import MlflowClient
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    features, target = load_iris(return_X_y=True, as_frame=True)
    name = f"iris-{uuid.uuid4().hex}"
    mlflow.set_experiment(name)
    # Else the client has uv export the lock of the folder that the tests are started in.
    with pytest.MonkeyPatch.context() as patched, mlflow.start_run() as run:
        patched.setenv("MLFLOW_UV_AUTO_DETECT", "false")
        made = mlflow.sklearn.log_model(
            LogisticRegression(max_iter=200).fit(features, target),
            name="model",
            input_example=features[:2],
            registered_model_name=name,
            pip_requirements=[],
        )
    client = MlflowClient()
    client.copy_model_version(f"models:/{name}/1", name)
    client.create_model_version(name, f"runs:/{run.info.run_id}/model", run.info.run_id)
    return name, made, run.info.run_id, features


@pytest.fixture
def store(server, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_STORE_URL", server.url)
    found = open_store(server.url)
    yield found
    found.close()


def test_a_version_is_resolved_by_where_its_files_are(store, client, logged, home):
    name, made, run_id, _features = logged
    sources = [store.get_model_version(name, number).source for number in (1, 2, 3)]
    assert sources == [made.model_uri, f"models:/{name}/1", f"runs:/{run_id}/model"]
    place = client.get_logged_model(made.model_id).artifact_location
    found = [resolve(store, f"models:/{name}/{number}") for number in (1, 2, 3)]
    assert [(each.source, each.run_id) for each in found] == [(place, run_id)] * 3
    assert resolve(store, made.model_uri).source == resolve(store, f"runs:/{run_id}/model").source == place
    assert len({fetch(each, home / "cache") for each in found}) == 1


def test_a_version_is_loaded_by_the_servers_of_its_store_whatever_the_settings_say(server, logged, monkeypatch):
    name, _made, _run_id, features = logged
    monkeypatch.delenv("PREFECT_ML_STORE_URL", raising=False)
    elsewhere = open_store(server.url)
    settings = Settings(trusted_origins=f"models:/{name}/*")
    for number in (1, 2, 3):
        loaded = load(elsewhere, f"models:/{name}/{number}", settings)
        assert list(loaded.predict(features[:2])) == [0, 0]
    elsewhere.close()


def test_a_version_is_judged_bound_to_its_digest_and_promoted(store, logged, client, mlflow, monkeypatch):
    name, _made, _run_id, _features = logged
    monkeypatch.setenv("PREFECT_ML_TRUSTED_ORIGINS", f"models:/{name}/*")
    assert store.get_model_version(name, 1).artifact_digest == ""
    request = promotion.request_promotion(store, name, 1, "champion", requester="ann")
    assert request.status is RequestStatus.PENDING, request.status_reason
    digest = store.get_model_version(name, 1).artifact_digest
    assert request.artifact_digest == digest != ""
    [told] = [e for e in store.audit(subject=f"models:/{name}/1") if e.action == "digest-recorded"]
    assert told.after == {"digest": digest}
    promotion.decide(store, request.request_id, approve=True, actor="bob")
    assert promotion.move(store, request.request_id, actor="bob").version == 1
    assert int(client.get_model_version_by_alias(name, "champion").version) == 1
    # A copy of a version whose digest is known has it from the start.
    copied = client.copy_model_version(f"models:/{name}/1", name)
    assert store.get_model_version(name, int(copied.version)).artifact_digest == digest


def test_serving_records_the_digest_of_a_version_without_one(store, logged):
    name, _made, _run_id, _features = logged
    settings = Settings(trusted_origins=f"models:/{name}/*")
    replica = load_replica(resolve(store, f"models:/{name}/2"), settings)
    assert replica.resolved.digest == store.get_model_version(name, 2).artifact_digest != ""
    assert replica.resolved == resolve(store, f"models:/{name}/2")


def test_files_that_change_after_their_digest_was_recorded_are_found(store, mlflow, client, experiment, tmp_path):
    name = f"changed-{uuid.uuid4().hex}"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}\n")
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(tmp_path / "model"), "model")
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    gateless = PromotionPolicy(name=name, model_pattern=name, aliases=("champion",), approvals=0)
    request = promotion.request_promotion(store, name, 1, "champion", requester="ann", policy=gateless)
    (tmp_path / "model" / "MLmodel").write_text("flavors: {evil: {}}\n")
    client.log_artifacts(run.info.run_id, str(tmp_path / "model"), "model")
    with pytest.raises(Exception, match="artifact"):
        promotion.move(store, request.request_id, actor="ann")
    with pytest.raises(CorruptArtifactError):
        fetch(resolve(store, f"models:/{name}/1"), tmp_path / "cache")


def test_no_digest_is_recorded_of_half_a_model(store, mlflow, experiment):
    name = f"half-{uuid.uuid4().hex}"
    logged = mlflow.initialize_logged_model(name="model")
    mlflow.MlflowClient().create_registered_model(name)
    mlflow.MlflowClient().create_model_version(name, f"models:/{logged.model_id}", model_id=logged.model_id)
    with pytest.raises(ArtifactError, match="PENDING"):
        promotion.request_promotion(store, name, 1, "champion", requester="ann")
    mlflow.finalize_logged_model(logged.model_id, "READY")
    with pytest.raises(NotFoundError, match="no model folder"):
        promotion.request_promotion(store, name, 1, "champion", requester="ann")
    assert store.get_model_version(name, 1).artifact_digest == ""


def test_a_version_is_registered_again_by_ours_with_its_logged_model(store, logged):
    name, made, run_id, _features = logged
    again = register_model(store, made.model_uri, f"{name}-again")
    assert (again.run_id, again.model_id) == (run_id, made.model_id)


@pytest.mark.parametrize("source", ["/etc", "file:///etc/passwd", "s3://bucket/../../x", "http://h/a/%2e%2e/b"])
def test_our_own_calls_are_held_to_the_same_places(store, source):
    name = f"place-{uuid.uuid4().hex}"
    store.create_registered_model(name)
    with pytest.raises(InvalidInputError, match="Invalid model version source"):
        store.create_model_version(name, source)
