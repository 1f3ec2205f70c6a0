"""The supervisor of one machine: whatever is killed, what serves comes back or ends, and nothing is left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from prefect_ml.http.workers import Workers
from prefect_ml.models.folder import save_model

COMMAND = str(Path(sys.executable).with_name("prefect-ml"))
DRAIN = 2
# Starts the server as a child and says its number, as a process of somebody's own would.
PARENT = """
import os, subprocess, sys, time
command = [sys.argv[1], "serve", "--parent", str(os.getpid()), *sys.argv[2:]]
child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip(), flush=True)
time.sleep(3600)
"""


def waits(data):
    """Takes as many seconds as it is told."""
    import time as clock

    clock.sleep(float(data[0]))
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models") / "waits"
    save_model(waits, made, allow_pickle=True)
    return made


@pytest.fixture
def start(folder, tmp_path):
    """Starts a command that serves the model; everything that it started is gone at the end."""
    started = []

    def run(*command, model=folder):
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", "0", "--", model],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={
                    **os.environ,
                    "PREFECT_ML_HOME": str(tmp_path / "home"),
                    "PREFECT_ML_TRUSTED_ORIGINS": str(model),
                    "PREFECT_ML_SERVE_DRAIN": str(DRAIN),
                },
            )
        line = process.stdout.readline()
        assert " at http" in line, (tmp_path / "log").read_text()
        started.extend([psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)])
        return process, line.split(" at ")[1].strip()

    yield run
    alive = psutil.wait_procs(started, timeout=0)[1]
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=30)


def until(look, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def answers(url):
    try:
        return httpx.post(f"{url}/invocations", json={"inputs": [0.0]}, timeout=30).is_success
    except httpx.TransportError:
        return False


def all_gone(processes):
    return not psutil.wait_procs(processes, timeout=0)[1]


def hang(url):
    """Ask what takes an hour, and return when a process has taken it."""
    port = int(url.rpartition(":")[2])
    body = b'{"inputs": [3600.0]}'
    asking = socket.create_connection(("127.0.0.1", port), timeout=30)
    head = f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    asking.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
    until(lambda: "prefect_ml_model_in_flight" in (text := httpx.get(f"{url}/metrics").text) and in_flight(text) == 1)
    return asking


def in_flight(text):
    return sum(float(value) for value in re.findall(r"^prefect_ml_model_in_flight\{.*\} (\S+)$", text, re.MULTILINE))


def test_a_single_worker_that_is_killed_comes_back_again_and_again(start, tmp_path):
    process, url = start(COMMAND, "serve", "--supervised")
    supervisor = psutil.Process(process.pid)
    for _ in range(2):
        [worker] = supervisor.children()
        worker.kill()
        until(lambda worker=worker: worker not in supervisor.children() and supervisor.children() and answers(url))
    process.terminate()
    assert process.wait(40) == 0
    process.stdout.close()


@pytest.mark.long
def test_a_worker_that_cannot_come_back_is_tried_with_growing_pauses_until_it_can(start, folder, tmp_path):
    model = shutil.copytree(folder, tmp_path / "model")
    process, url = start(COMMAND, "serve", "--supervised", model=model)
    model.rename(tmp_path / "away")
    psutil.Process(process.pid).children()[0].kill()
    until(lambda: (tmp_path / "log").read_text().count("another takes its place") >= 3)
    assert process.poll() is None
    (tmp_path / "away").rename(model)
    until(lambda: answers(url))
    process.terminate()
    assert process.wait(40) == 0
    process.stdout.close()


def test_workers_that_serve_and_die_at_once_are_started_with_growing_pauses(tmp_path, monkeypatch):
    monkeypatch.setattr("prefect_ml.http.workers._PAUSE", 0.2)

    def serve(ready):
        (tmp_path / str(os.getpid())).touch()
        ready()
        until((tmp_path / "all serve").exists)

    def stop():
        (tmp_path / "all serve").touch()
        until(lambda: len(list(tmp_path.iterdir())) >= 6)
        os.kill(os.getpid(), signal.SIGTERM)

    ended, begun = [], time.monotonic()
    workers = Workers(1, serve, drain=5, ended=ended.append)
    stopping = threading.Thread(target=stop)
    workers.run(socket.create_server(("127.0.0.1", 0)), stopping.start)
    stopping.join(30)
    # the second at once, the others after 0.2, 0.4 and 0.8 s
    assert time.monotonic() - begun > 1.4
    assert len(set(ended)) >= 5


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.long), "2"])
def test_what_hangs_ends_too_when_the_parent_of_the_server_is_killed(start, workers):
    parent, url = start(sys.executable, "-c", PARENT, COMMAND, "--workers", workers)
    served = psutil.Process(parent.pid).children(recursive=True)
    assert len(served) == (1 if workers == "1" else 3)
    with hang(url):
        parent.kill()
        parent.wait(30)
        until(lambda: all_gone(served))
    parent.stdout.close()


def test_what_is_in_hand_is_answered_and_what_hangs_ends_when_the_supervisor_is_killed(start):
    supervisor, url = start(COMMAND, "serve", "--supervised")
    workers = psutil.Process(supervisor.pid).children()
    said = []

    def ask():
        said.append(httpx.post(f"{url}/invocations", json={"inputs": [1.0]}, timeout=30).status_code)

    asking = threading.Thread(target=ask)
    with hang(url):
        asking.start()
        until(lambda: in_flight(httpx.get(f"{url}/metrics").text) == 2)
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait(30)
        asking.join(30)
        assert said == [200]
        until(lambda: all_gone(workers))
    supervisor.stdout.close()
