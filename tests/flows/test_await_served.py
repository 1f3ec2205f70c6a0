"""The deployment flow against real serving processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from prefect.settings import get_current_settings
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from prefect_ml.flows.await_served import DeploymentError, await_served
from prefect_ml.models.folder import save_model
from prefect_ml.registry.register import register_model
from prefect_ml.store import open_store

FEATURES, TARGET = load_diabetes(return_X_y=True, as_frame=True)
COMMAND = Path(sys.executable).with_name("prefect-ml")

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def model(tmp_path):
    save_model(Ridge().fit(FEATURES, TARGET), tmp_path / "model", input_example=FEATURES[:3])
    return str(tmp_path / "model")


@pytest.fixture
def running(tmp_path):
    """Starts a process that is terminated at the end, and its group gone."""
    started = []

    def start(*command, **env):
        with (tmp_path / "process.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=os.environ | env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


def healthy(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").is_success
    except httpx.TransportError:
        return False


def until(look, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def test_it_waits_until_the_process_serves_what_the_alias_says_now(model, port, running):
    store = open_store()
    for _ in range(2):
        register_model(store, model, "diabetes")
    store.set_alias("diabetes", "steady", 1)
    running(COMMAND, "serve", "models:/diabetes@steady", "--port", str(port))
    first = await_served("models:/diabetes@steady", port=port)
    assert first == {
        "url": f"http://127.0.0.1:{port}",
        "model_uri": "models:/diabetes@steady",
        "model": "diabetes",
        "version": 1,
        "generation": 1,
        "example_status": None,
    }
    store.set_alias("diabetes", "steady", 2)
    second = await_served("models:/diabetes@steady", port=port)
    assert (second["version"], second["generation"]) == (2, 2)
    with pytest.raises(DeploymentError, match="serves 'models:/diabetes@steady' and will not turn to"):
        await_served("models:/diabetes/2", port=port)


def test_it_says_what_it_saw_when_nothing_listens(model, port):
    with pytest.raises(DeploymentError, match=r"does not serve version .* ConnectError"):
        await_served(model, port=port, timeout=0.1)


def test_it_says_what_it_saw_when_something_else_listens(model, port, running):
    running(sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    with pytest.raises(DeploymentError, match="it last answered: 404"):
        await_served(model, port=port, timeout=3)


def started_flow(running, model, port):
    code = f"from prefect_ml.flows.await_served import await_served as f; f({model!r}, port={port}, start=True)"
    process = running(sys.executable, "-c", code, PREFECT_API_URL=get_current_settings().api.url)
    until(lambda: healthy(port) or process.poll() is not None)
    assert process.poll() is None
    return process


def test_a_started_process_ends_with_its_flow(model, port, running, tmp_path):
    process = started_flow(running, model, port)
    until(lambda: "serves" in (tmp_path / "process.log").read_text())
    answer = httpx.post(f"http://127.0.0.1:{port}/invocations", json={"dataframe_split": FEATURES[:2].to_dict("split")})
    assert len(answer.json()["predictions"]) == 2
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert process.returncode != 0
    assert not healthy(port)


def test_a_started_process_that_dies_fails_the_flow(model, port, running, tmp_path):
    process = started_flow(running, model, port)
    until(lambda: "serves" in (tmp_path / "process.log").read_text())
    [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    assert process.wait(60) == 1
    assert "ended with exit code -9" in (tmp_path / "process.log").read_text()


def test_a_started_process_ends_with_a_flow_that_is_killed(model, port, running, tmp_path):
    process = started_flow(running, model, port)
    process.kill()
    process.wait(30)
    until(lambda: not healthy(port))


def test_a_port_that_is_taken_fails_the_start_at_once(model, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(DeploymentError, match="ended with exit code 1 before it served"):
            await_served(model, port=port, start=True)
