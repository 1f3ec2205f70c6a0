"""Full disks: training goes on, one warning, what is missing can be counted, and nothing else is missing."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

import ledger
import pytest

import prefect_ml as ml
from prefect_ml.entities import RunStatus
from prefect_ml.tracking.outlet import MISSING_TAG

AWAY = "The store is away"
UNRECORDED = "cannot be recorded"
NUMBER = re.compile(r" (\d+) of worker 0 ")


def fill(disk: Path, leave: int) -> Path:
    """A file that takes all of a disk but so many bytes."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - leave))
    return ballast


def account_of(nursery) -> ledger.Account:
    [account] = ledger.accounts(nursery.ledgers).values() or [ledger.Account()]
    return account


def ended(nursery, pid: int):
    """The account, the verdict and the run of a training that ended well."""
    assert nursery.wait(pid) == 0, nursery.errors
    assert nursery.errors == ""
    [(run_id, account)] = ledger.accounts(nursery.ledgers).items()
    store = ml.open_store()
    run, verdict = store.get_run(run_id), ledger.check(store, {run_id: account})
    assert run.status is RunStatus.FINISHED
    store.close()  # its disk goes away
    return account, verdict, run


def check_what_is_missing(nursery, pid: int, calls: int) -> None:
    account, verdict, run = ended(nursery, pid)
    [before] = account.warned(UNRECORDED)
    lost = len(verdict.lost)
    assert set(verdict.wrong) == {"lost"}
    assert len(account.acknowledged) == calls
    assert 0 < before < calls
    assert lost == int(run.tags[MISSING_TAG])
    numbers = [int(NUMBER.search(one)[1]) for one in verdict.lost]
    assert min(numbers) >= before, "what was acknowledged before the warning is there"


def test_the_disk_of_the_journals_is_full_on_a_tmpfs(small_disk, nursery, tmp_path, monkeypatch):
    disk = small_disk("256k")
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setenv("PREFECT_ML_HOME", str(disk / "home"))
    pid = nursery.fork(calls=8000, kinds=["metric", "metrics", "params"])
    check_what_is_missing(nursery, pid, 8000)


def test_the_disk_of_the_journals_is_full_by_a_quota_of_the_size_of_files(nursery, postgres_url, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_STORE_URL", postgres_url)
    ml.open_store()
    pid = nursery.fork(calls=400, kinds=["note"], pause=0.001)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (2**18, resource.RLIM_INFINITY))
    check_what_is_missing(nursery, pid, 400)


@pytest.mark.parametrize("kinds", [["metrics", "tags", "note"], ["metrics", "tags", "text"]], ids="+".join)
def test_the_disk_of_the_store_is_full_on_a_tmpfs(small_disk, nursery, wait_until, monkeypatch, kinds):
    disk, stop = small_disk("8m"), nursery.folder / "stop"
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{disk}/store.db")
    monkeypatch.setenv("PREFECT_ML_ARTIFACT_ROOT", str(disk / "artifacts"))
    ml.open_store().close()
    ballast = fill(disk, leave=2**18)
    pid = nursery.fork(kinds=kinds, pause=0.001, until=str(stop))
    wait_until(lambda: account_of(nursery).warned(AWAY))
    away = len(account_of(nursery).acknowledged)
    wait_until(lambda: len(account_of(nursery).acknowledged) > away + 100)
    ballast.unlink()
    stop.touch()
    account, verdict, run = ended(nursery, pid)
    assert verdict.wrong == {}
    assert len(account.warned(AWAY)) == 1
    assert not account.warned(UNRECORDED)
    assert MISSING_TAG not in run.tags
    assert "text" in kinds or len(account.warnings) == 1


def test_the_disk_of_the_store_is_full_by_a_quota_of_the_size_of_files(nursery, tmp_path, wait_until):
    stop = tmp_path / "stop"
    ml.open_store().close()
    pid = nursery.fork(kinds=["metrics", "tags"], pause=0.002, until=str(stop))
    wait_until(lambda: len(account_of(nursery).acknowledged) > 50)
    # The store's log of writes outgrows this at once, the journal later.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (2**17, resource.RLIM_INFINITY))
    wait_until(lambda: account_of(nursery).warned(AWAY))
    away = len(account_of(nursery).acknowledged)
    wait_until(lambda: len(account_of(nursery).acknowledged) > away + 20)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    stop.touch()
    account, verdict, _ = ended(nursery, pid)
    assert verdict.wrong == {}
    assert [text for text, _ in account.warnings if AWAY not in text] == []
    assert len(account.warnings) == 1


def test_a_disk_that_is_full_from_the_start_until_there_is_space(
    small_disk, nursery, tmp_path, wait_until, monkeypatch
):
    disk, stop = small_disk("1m"), tmp_path / "stop"
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setenv("PREFECT_ML_HOME", str(disk / "home"))
    ballast = fill(disk, leave=0)
    pid = nursery.fork(kinds=["metrics", "tags"], pause=0.001, until=str(stop))
    wait_until(lambda: len(account_of(nursery).acknowledged) > 100)
    ballast.unlink()
    freed = len(account_of(nursery).acknowledged)
    wait_until(lambda: len(account_of(nursery).acknowledged) > freed + 100)
    stop.touch()
    account, verdict, run = ended(nursery, pid)
    assert set(verdict.wrong) == {"lost"}
    assert account.warned(UNRECORDED) == [0]
    assert len(verdict.lost) >= 100
    assert len(verdict.lost) == int(run.tags[MISSING_TAG]), "each call is one record"
    assert ml.open_store().get_experiment(run.experiment_id).name != "Default", "the start found room later"
    assert ml.open_store().get_attempts(run.run_id)
