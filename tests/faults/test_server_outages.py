"""The tracking server is killed in the middle of a training and started again: nothing lost, nothing doubled."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import ledger
import pytest

import prefect_ml as ml
from prefect_ml.entities import RunStatus
from prefect_ml.errors import NotFoundError
from served import TrackingServer

AWAY = "The store is away"
PLAIN = {"kinds": ["metric", "metrics", "params", "tags"], "pause": 0.002}


@pytest.fixture
def server(tmp_path, monkeypatch):
    with TrackingServer(tmp_path / "server") as running:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", running.url)
        yield running


@pytest.fixture
def store(server):
    """The store behind the server, for us to look at."""
    opened = ml.open_store()
    assert type(opened).__name__ == "HttpStore"
    yield opened
    opened.close()


def accounts(nursery):
    return ledger.accounts(nursery.ledgers)


def goes_on(nursery, wait_until, calls=100):
    """Wait until so many more calls have returned."""

    def count():
        return sum(len(account.acknowledged) for account in accounts(nursery).values())

    before = count()
    wait_until(lambda: count() >= before + calls)


def has_last_point(store, nursery):
    """Whether the store has the last point that was acknowledged until now, and all before it."""
    [(run_id, account)] = accounts(nursery).items()
    last = max(call.step for call in account.acknowledged if "loss" in call.content)

    def reached():
        with contextlib.suppress(NotFoundError):  # until the first delivery has arrived
            points = store.sample_metric_history(run_id, "loss", 2)
            return bool(points) and points[-1].step >= last
        return False

    return reached


def test_the_server_is_killed_twice_and_comes_back(server, store, nursery, wait_until, tmp_path):
    stop = tmp_path / "stop"
    pid = nursery.fork(until=str(stop), **PLAIN)
    for _ in range(2):
        goes_on(nursery, wait_until)
        server.kill()
        wait_until(lambda: next(iter(accounts(nursery).values())).warned(AWAY))
        goes_on(nursery, wait_until)
        server.start()
        wait_until(has_last_point(store, nursery))
    stop.touch()
    assert nursery.wait(pid) == 0, nursery.errors
    assert nursery.errors == ""
    found = accounts(nursery)
    assert ledger.check(store, found).wrong == {}
    [(run_id, account)] = found.items()
    assert store.get_run(run_id).status is RunStatus.FINISHED
    assert 1 <= len(account.warnings) <= 2, account.warnings
    assert [attempt.outcome for attempt in store.get_attempts(run_id)] == [RunStatus.FINISHED]


def test_the_server_is_killed_again_and_again_while_several_train(server, store, nursery, wait_until, tmp_path):
    stop = tmp_path / "stop"
    pids = [nursery.fork(until=str(stop), **PLAIN) for _ in range(2)]
    for _ in range(3):
        goes_on(nursery, wait_until, 150)
        server.kill()
        server.start()
    stop.touch()
    assert [nursery.wait(pid) for pid in pids] == [0, 0], nursery.errors
    found = accounts(nursery)
    assert len(found) == 2
    assert ledger.check(store, found).wrong == {}


def test_what_was_recorded_while_the_server_was_away_is_delivered_by_sync(
    server, store, nursery, monkeypatch, home: Path
):
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "1")
    server.kill()
    assert nursery.wait(nursery.fork(calls=300, **PLAIN)) == 0
    [account] = accounts(nursery).values()
    assert len(account.acknowledged) == 300
    assert len(account.warned(AWAY)) == 1
    server.start()
    command = [str(Path(sys.executable).with_name("prefect-ml")), "sync"]
    for _ in range(2):
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert ledger.check(store, accounts(nursery)).wrong == {}
    assert not list(home.glob("journal/*"))


@pytest.mark.long
def test_the_database_is_killed_behind_the_server_and_then_both(
    own_postgres, nursery, wait_until, tmp_path, monkeypatch
):
    """The server says that it cannot take anything now; nothing else changes for those who train."""
    with TrackingServer(tmp_path / "server", store=own_postgres.url) as server:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", server.url)
        stop = tmp_path / "stop"
        pid = nursery.fork(until=str(stop), **PLAIN)
        for both in (False, True):
            goes_on(nursery, wait_until)
            own_postgres.kill()
            if both:
                server.kill()
            outages = 1 + both
            wait_until(lambda count=outages: len(next(iter(accounts(nursery).values())).warned(AWAY)) == count)
            goes_on(nursery, wait_until)
            own_postgres.start()
            if both:
                server.start()
            store = ml.open_store()
            wait_until(has_last_point(store, nursery))
            store.close()
        stop.touch()
        assert nursery.wait(pid) == 0, nursery.errors
        assert nursery.errors == ""
        found, store = accounts(nursery), ml.open_store()
        assert ledger.check(store, found).wrong == {}
        [(run_id, account)] = found.items()
        assert store.get_run(run_id).status is RunStatus.FINISHED
        assert len(account.warnings) == 2, account.warnings
        store.close()
