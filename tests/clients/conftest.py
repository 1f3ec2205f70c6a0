from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from served import TrackingServer

# What a client reads when it is made; a request that fails is told at once, not after a minute of retries.
CLIENT_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with TrackingServer(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="session")
def client_environment():
    """Of a client in another process."""
    return {**os.environ, **CLIENT_SETTINGS}


@pytest.fixture(scope="module")
def mlflow(server):
    """MLflow's client of this process, pointed at the server; afterwards as it was."""
    before = _variables()
    os.environ.update(CLIENT_SETTINGS)
    import mlflow

    mlflow.set_tracking_uri(server.url)
    yield mlflow
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    mlflow.tracking.fluent._active_experiment_id = None
    for name in _variables():
        del os.environ[name]
    os.environ.update(before)


def _variables() -> dict[str, str]:
    """Those of MLflow, which its functions set too."""
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_") or name in CLIENT_SETTINGS}


@pytest.fixture(scope="module")
def client(mlflow):
    return mlflow.MlflowClient()


@pytest.fixture
def experiment(mlflow, request):
    """A new experiment of the test's name, which the fluent functions use."""
    found = mlflow.set_experiment(f"{request.node.name} {os.urandom(4).hex()}")
    yield found
    while mlflow.active_run():
        mlflow.end_run()
