"""A model served by a worker: restarted by the shipped automation when it is killed, drained when it is cancelled."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest
from sklearn.linear_model import LinearRegression

from prefect_ml.models.folder import save_model

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
from orchestrator import until

pytestmark = pytest.mark.timeout(400)
SOON = 150
BODY = b'{"inputs": [[5.0]]}'


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "linear"
    rows = [[1.0], [2.0], [3.0]]
    save_model(LinearRegression().fit(rows, [2.0, 4.0, 6.0]), folder, input_example=rows)
    return str(folder)


def serving(port):
    """The processes that serve there."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"serve" in words and str(port).encode() in words:
            found.append(int(folder.name))
    return found


def scored(port):
    answer = httpx.post(
        f"http://127.0.0.1:{port}/invocations", content=BODY, headers={"content-type": "application/json"}
    )
    assert answer.json()["predictions"] == pytest.approx([10.0])
    return True


def runs(world, model):
    found = world.api.post("/flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC", "limit": 200})
    return [run for run in found if run["parameters"].get("model_uris") == [model]]


def started(world, model, port):
    """A run of the shipped deployment that serves; its id, its parameters and the process that serves."""
    deployment = world.api.get("/deployments/name/serve-model/serve-model")["id"]
    parameters = {"model_uris": [model], "port": port}
    run = world.api.post(f"/deployments/{deployment}/create_flow_run", {"parameters": parameters})["id"]
    until(lambda: scored(port), f"the server\n{world.orchestrator.logs()}", SOON)
    [process] = serving(port)
    assert world.state(run) == "Running"
    return run, parameters, process


def next_after(world, model, run):
    """The run that the automation makes."""
    others = until(lambda: [each for each in runs(world, model) if each["id"] != run], "the automation", SOON)
    return others[0]["id"]


def cancel(world, run):
    state = {"type": "CANCELLING", "name": "Cancelling"}
    assert world.api.post(f"/flow_runs/{run}/set_state", {"state": state})["status"] == "ACCEPT"


def test_it_is_started_again_when_it_was_killed_and_drains_when_it_is_cancelled(world, model, port):
    first, parameters, before = started(world, model, port)
    world.kill(first)
    world.wait_for(first, "Crashed")
    second = next_after(world, model, first)
    assert world.run(second)["parameters"] == {**parameters, "host": "127.0.0.1", "workers": 1, "timeout": 600.0}
    until(lambda: before not in serving(port), "the end of the server whose flow was killed")
    until(lambda: scored(port), f"the server's return\n{world.orchestrator.logs()}", SOON)

    def lines():
        found = world.api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [second]}}})
        return any(each["message"].startswith("Serving linear at") for each in found)

    until(lines, "the server's lines in the log of the run")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as asking:
        head = f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(BODY)}\r\n"
        asking.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + BODY[:5])
        cancel(world, second)

        def closed():
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except ConnectionRefusedError:
                return True
            return False

        until(closed, "the end of new connections")
        asking.sendall(BODY[5:])
        answer = b""
        while part := asking.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert b"predictions" in answer
    world.wait_for(second, "Cancelled")
    assert serving(port) == []
    assert {run["id"] for run in runs(world, model)} == {first, second}


@pytest.mark.long
def test_a_server_that_is_killed_fails_its_run_and_is_started_again(world, model, port):
    first, _, process = started(world, model, port)
    os.kill(process, signal.SIGKILL)
    failed = world.wait_for(first, "Failed")
    assert "was killed by signal 9" in failed["state"]["message"]
    second = next_after(world, model, first)
    until(lambda: scored(port), f"the server's return\n{world.orchestrator.logs()}", SOON)
    cancel(world, second)
    world.wait_for(second, "Cancelled")
    assert serving(port) == []
