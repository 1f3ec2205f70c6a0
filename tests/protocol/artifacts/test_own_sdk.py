"""Our own client with its artifacts behind the server: files, models, and what waits while the server is away."""

from __future__ import annotations

import pytest

import prefect_ml
from prefect_ml.artifacts import open_artifacts, served_client
from served import TrackingServer

# A client of the store whose thread ends leaves its connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def served(server, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_STORE_URL", server.url)
    yield server
    prefect_ml.open_store().close()
    served_client.client_of(server.url, None).close()


def test_files_of_a_run_go_through_the_server(served, tmp_path):
    (tmp_path / "tree/sub folder").mkdir(parents=True)
    (tmp_path / "tree/a b%#ü.txt").write_bytes(b"one")
    (tmp_path / "tree/sub folder/x").write_bytes(b"two")
    with prefect_ml.start_run() as run:
        prefect_ml.log_artifact(tmp_path / "tree/a b%#ü.txt", "d")
        prefect_ml.log_artifacts(tmp_path / "tree", "tree")
        prefect_ml.log_text("text", "notes.txt")
    stored = prefect_ml.open_store().get_run(run.run_id)
    assert stored.artifact_uri.startswith("mlflow-artifacts:/")
    artifacts = open_artifacts(stored.artifact_uri)
    names = {info.name for folder in ("", "d", "tree", "tree/sub folder") for info in artifacts.list(folder)}
    assert {"notes.txt", "d/a b%#ü.txt", "tree/a b%#ü.txt", "tree/sub folder/x"} <= names
    assert artifacts.read("d/a b%#ü.txt") == b"one"
    on_disk = served.artifacts / stored.artifact_uri.removeprefix("mlflow-artifacts:/") / "tree/sub folder/x"
    assert on_disk.read_bytes() == b"two"


def test_a_model_is_logged_registered_and_loaded_through_the_server(served):
    import numpy as np
    from sklearn.linear_model import LinearRegression

    features = np.arange(8.0).reshape(4, 2)
    fitted = LinearRegression().fit(features, [1.0, 2.0, 3.0, 4.0])
    with prefect_ml.start_run():
        logged = prefect_ml.log_model(fitted, "model", register="through-the-server")
    for uri in (logged.uri, "models:/through-the-server/1"):
        assert np.allclose(prefect_ml.load_model(uri).predict(features), fitted.predict(features))


def test_a_file_that_is_logged_while_the_server_is_away_waits_and_is_delivered(tmp_path, monkeypatch):
    monkeypatch.setattr(served_client, "_FIRST_PAUSE", 0.01)
    with TrackingServer(tmp_path / "server") as server:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", server.url)
        with prefect_ml.start_run() as run:
            prefect_ml.log_text("before", "before.txt")
            server.kill()
            prefect_ml.log_text("while it was away", "away.txt")
            server.start()
        artifacts = open_artifacts(prefect_ml.open_store().get_run(run.run_id).artifact_uri)
        assert artifacts.read("before.txt") == b"before"
        assert artifacts.read("away.txt") == b"while it was away"
        prefect_ml.open_store().close()
        served_client.client_of(server.url, None).close()
