"""The store goes away in the middle of a training and comes back: nothing raised, one warning, all delivered."""

from __future__ import annotations

import subprocess
import sys
import time

import ledger
import pytest

import prefect_ml as ml
from prefect_ml.entities import Run, RunStatus
from prefect_ml.tracking.outlet import MISSING_TAG

AWAY = "The store is away"
PLAIN = {"kinds": ["metric", "metrics", "params", "tags"], "pause": 0.002}


class Training:
    """A training that goes on until it is told to stop."""

    def __init__(self, nursery, tmp_path, **spec) -> None:
        self._nursery, self._stop = nursery, tmp_path / "stop"
        self.pid = nursery.fork(until=str(self._stop), **PLAIN | spec)

    @property
    def account(self) -> ledger.Account:
        [account] = ledger.accounts(self._nursery.ledgers).values() or [ledger.Account()]
        return account

    def goes_on(self, wait_until, calls: int = 100) -> None:
        """Wait until so many more calls have returned."""
        before = len(self.account.acknowledged)
        wait_until(lambda: len(self.account.acknowledged) >= before + calls)

    def catches_up(self, wait_until) -> None:
        """Wait until the store has the last point that was acknowledged; a retry may be half a minute away."""
        store = ml.open_store()
        [(run_id, account)] = ledger.accounts(self._nursery.ledgers).items()
        last = max(call.step for call in account.acknowledged if "loss" in call.content)
        wait_until(lambda: store.sample_metric_history(run_id, "loss", 2)[-1].step >= last)
        store.close()

    def ended(self) -> tuple[ledger.Account, ledger.Verdict, Run]:
        """Have it end, and compare all that was acknowledged with what is in the store."""
        self._stop.touch()
        assert self._nursery.wait(self.pid) == 0, self._nursery.errors
        assert self._nursery.errors == ""
        store = ml.open_store()
        [(run_id, account)] = ledger.accounts(self._nursery.ledgers).items()
        verdict, run = ledger.check(store, {run_id: account}), store.get_run(run_id)
        assert run.status is RunStatus.FINISHED
        store.close()
        return account, verdict, run

    def ends(self) -> ledger.Account:
        """Have it end, and find everything in the store."""
        account, verdict, _ = self.ended()
        assert verdict.wrong == {}
        return account


@pytest.fixture
def training(nursery, tmp_path):
    return lambda **spec: Training(nursery, tmp_path, **spec)


def test_postgres_is_killed_twice_and_comes_back(own_postgres, training, wait_until, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_STORE_URL", own_postgres.url)
    ml.open_store().close()
    process = training(kinds=[*PLAIN["kinds"], "text"])
    for outage in (1, 2):
        process.goes_on(wait_until)
        own_postgres.kill()
        wait_until(lambda count=outage: len(process.account.warned(AWAY)) == count)
        process.goes_on(wait_until)
        own_postgres.start()
        process.catches_up(wait_until)
    account = process.ends()
    assert len(account.warnings) == 2, account.warnings


def test_postgres_is_away_at_the_start_and_at_the_end(own_postgres, training, wait_until, monkeypatch, home):
    from prefect_ml.tracking.sync import sync_journals

    monkeypatch.setenv("PREFECT_ML_STORE_URL", own_postgres.url)
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "1")
    own_postgres.kill()
    process = training(calls=300)
    assert process._nursery.wait(process.pid) == 0
    assert len(process.account.warned(AWAY)) == 1
    assert len(process.account.acknowledged) == 300
    own_postgres.start()
    store = ml.open_store()
    assert all(report.finished for report in sync_journals(store))
    assert ledger.check(store, ledger.accounts(process._nursery.ledgers)).wrong == {}
    assert not list(home.glob("journal/*"))
    store.close()


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


@pytest.mark.parametrize(("patience", "warnings"), [(30, 0), (1, 1)])
def test_sqlite_is_locked_by_another_process_for_seconds(training, wait_until, home, patience, warnings):
    ml.open_store().close()
    process = training(patience=patience)
    process.goes_on(wait_until)
    command = [sys.executable, "-c", LOCK, str(home / "store.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        until = time.monotonic() + 3
        while time.monotonic() < until:
            process.goes_on(wait_until, 20)
        other.stdin.close()
    process.goes_on(wait_until)
    assert len(process.ends().warned(AWAY)) == warnings


def test_the_folder_of_sqlite_is_moved_and_back(training, wait_until, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{disk}/store.db")
    ml.open_store().close()
    process = training()
    process.goes_on(wait_until)
    disk.rename(tmp_path / "moved")
    process.goes_on(wait_until, 300)
    (tmp_path / "moved").rename(disk)
    process.goes_on(wait_until)
    assert len(process.ends().warnings) <= 1


def test_the_folder_of_sqlite_is_unreadable_at_first(training, wait_until, tmp_path, monkeypatch):
    folder = tmp_path / "store"
    folder.mkdir(mode=0)
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{folder}/store.db")
    process = training(powerless=True)
    wait_until(lambda: process.account.warned(AWAY))
    process.goes_on(wait_until, 300)
    folder.chmod(0o700)
    assert len(process.ends().warnings) == 1


def test_the_folder_of_the_journals_is_unreadable_for_a_while(training, wait_until, home, tmp_path, monkeypatch):
    """What was logged meanwhile is missing and counted, and nothing else is."""
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{tmp_path}/store.db")
    home.mkdir(mode=0)
    process = training(powerless=True)
    process.goes_on(wait_until)
    home.chmod(0o700)
    process.goes_on(wait_until)
    account, verdict, run = process.ended()
    assert len(account.warnings) == 1
    assert len(account.warned("cannot be recorded")) == 1
    assert set(verdict.wrong) == {"lost"}
    assert len(verdict.lost) >= 100
    assert len(verdict.lost) == int(run.tags[MISSING_TAG]), "each call is one record"
