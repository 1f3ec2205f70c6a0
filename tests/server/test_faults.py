"""A server that is killed, and a database that goes away: what was acknowledged is there, once, and work goes on."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import httpx
import pytest
from hammering import Training, compare, new_runs

from postgres import Postgres

CLIENTS = 8

# A client whose server is killed in the middle of a call leaves its socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def own_postgres():
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    made = Postgres(folder)
    yield made
    made.close()
    shutil.rmtree(folder, ignore_errors=True)


def go_on(trainings: list[Training], until, points: int = 12) -> None:
    """Wait until the server has acknowledged so many more points of each."""
    before = [len(training.acknowledged) for training in trainings]
    for training, already in zip(trainings, before, strict=True):
        until(lambda training=training, already=already: len(training.acknowledged) >= already + points, 60)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_a_killed_server_has_acknowledged_is_there_once(start, until, request, kind):
    store = request.getfixturevalue("postgres_url") if kind == "postgresql" else None
    server = start(store=store)
    trainings = [Training(server.url, run_id) for run_id in new_runs(server.url, CLIENTS)]
    for training in trainings:
        training.start()
    go_on(trainings, until)
    server.kill()
    server.start()
    go_on(trainings, until)
    for training in trainings:
        training.stop()
    assert all(training.away for training in trainings)
    compare(server.url, trainings)


def test_a_database_that_restarts_is_waited_for(start, until, own_postgres):
    server = start(store=own_postgres.url)
    trainings = [Training(server.url, run_id) for run_id in new_runs(server.url, CLIENTS)]
    for training in trainings:
        training.start()
    go_on(trainings, until)

    own_postgres.kill()
    for training in trainings:
        until(lambda training=training: training.busy)
    begun = time.monotonic()
    sick = httpx.get(server.url + "/health", timeout=30)
    assert time.monotonic() - begun < 10
    assert (sick.status_code, sick.headers["retry-after"]) == (503, "1")
    assert "cannot reach its store now" in sick.json()["message"]
    assert httpx.get(server.url + "/version", timeout=30).status_code == 200

    own_postgres.start()
    go_on(trainings, until)
    until(lambda: httpx.get(server.url + "/health", timeout=30).text == "OK")
    for training in trainings:
        training.stop()
    assert [training.away for training in trainings] == [0] * CLIENTS
    compare(server.url, trainings)
