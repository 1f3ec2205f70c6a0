"""The serving flow against real serving processes, without a worker."""

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
from sklearn.linear_model import LinearRegression

from prefect_ml.flows.deployments import shipped
from prefect_ml.flows.serve import ServingError, serve_model
from prefect_ml.models.folder import save_model

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "linear"
    rows = [[1.0], [2.0], [3.0]]
    save_model(LinearRegression().fit(rows, [2.0, 4.0, 6.0]), folder, input_example=rows)
    return str(folder)


@pytest.fixture
def running(model, port, tmp_path):
    """A flow that serves, in a process of its own; its number and that of the server."""
    code = f"from prefect_ml.flows.serve import serve_model as f; f([{model!r}], port={port})"
    with (tmp_path / "flow.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"PREFECT_API_URL": get_current_settings().api.url},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    until(lambda: "Serving linear" in (tmp_path / "flow.log").read_text() or process.poll() is not None)
    assert process.poll() is None, (tmp_path / "flow.log").read_text()
    [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    yield process, int(child)
    if process.poll() is None:
        process.kill()
        process.wait(30)
    until(lambda: gone(int(child)))


def until(look, seconds=90):
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_server_that_is_killed_fails_the_run(running, port, tmp_path):
    process, child = running
    answer = httpx.post(f"http://127.0.0.1:{port}/invocations", json={"inputs": [[5.0]]}, timeout=30)
    assert answer.json()["predictions"] == pytest.approx([10.0])
    os.kill(child, signal.SIGKILL)
    assert process.wait(60) == 1
    assert "was killed by signal 9" in (tmp_path / "flow.log").read_text()


def test_a_flow_that_is_killed_takes_its_server_with_it(running, port):
    process, child = running
    process.kill()
    process.wait(30)
    until(lambda: gone(child))
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/ping")


def test_a_server_that_cannot_start_fails_the_run_with_its_last_words(model, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(ServingError, match=r"ended with exit code 1 before it served: .*Cannot listen"):
            serve_model([model], port=port)


def test_what_people_name_is_never_an_option():
    with pytest.raises(ServingError, match=r"ended with exit code 1 before it served: Error: "):
        serve_model(["--host=0.0.0.0"], port=0)


def test_the_automation_starts_a_run_with_what_the_flow_takes_when_it_is_given_nothing():
    [trigger] = next(each for each in shipped() if each["name"] == "serve-model")["triggers"]
    assert set(trigger["parameters"]) == set(serve_model.parameters.properties)
    for name, field in serve_model.parameters.properties.items():
        if "default" in field:
            template = trigger["parameters"][name]["value"]["template"]
            assert template == f"{{{{ flow_run.parameters.get({name!r}, {field['default']!r}) | tojson }}}}"
