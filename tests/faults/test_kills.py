"""Training processes killed at random and at exact moments: what was acknowledged is stored, once and whole."""

from __future__ import annotations

import os
import random
import time

import ledger
import pytest

import prefect_ml as ml
from prefect_ml.entities import RunStatus
from prefect_ml.tracking.sync import sync_journals

AT_ONCE = 4
LONGEST_LIFE = 0.4


@pytest.fixture(autouse=True)
def no_watching(monkeypatch):
    """Nobody cleans up behind the killed ones before `sync` does."""
    monkeypatch.setenv("PREFECT_ML_WATCH", "false")


def kill_at_random(nursery, kills: int, seed: int) -> int:
    """Kill so many processes, several at once, each at a random moment of its life; how many were alive."""
    rng = random.Random(seed)  # noqa: S311 - moments to kill at
    alive = 0
    for first in range(0, kills, AT_ONCE):
        began = time.monotonic()
        count = min(AT_ONCE, kills - first)
        moments = sorted(rng.uniform(0, LONGEST_LIFE) for _ in range(count))
        pids = [nursery.fork() for _ in range(count)]
        for moment, pid in zip(moments, pids, strict=True):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            alive += nursery.kill(pid) == -9
        if first % (AT_ONCE * 5) == 0:
            sync_journals(ml.open_store())  # while the next ones start
    return alive


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, monkeypatch):
    """An empty store of each kind."""
    if request.param == "postgresql":
        monkeypatch.setenv("PREFECT_ML_STORE_URL", request.getfixturevalue("postgres_url"))
    made = ml.open_store()
    yield made
    made.close()


def settle(store, nursery, home) -> dict[str, ledger.Account]:
    """Have all that dead processes left delivered, and compare; the accounts of the runs."""
    assert all(report.finished and not report.bad_bytes for report in sync_journals(store))
    assert sync_journals(store) == []
    accounts = ledger.accounts(nursery.ledgers)
    assert ledger.check(store, accounts).wrong == {}
    assert not list(home.glob("journal/*/*.journal"))
    assert nursery.errors == ""
    return accounts


def test_random_kills(store, nursery, home):
    kills = 200 if store.url.startswith("sqlite") else 40
    assert kill_at_random(nursery, kills, seed=20261124) == kills
    accounts = settle(store, nursery, home)
    assert len(accounts) > kills / 2
    assert sum(len(account.acknowledged) for account in accounts.values()) > 2 * kills
    assert {store.get_run(run_id).status for run_id in accounts} == {RunStatus.KILLED}


DELIVERING = {"calls": 60, "pause": 0.005, "kinds": ["metrics", "params", "tags"]}
# One that goes on until it is killed, however slowly the store takes what it delivers.
ENDLESS = {**DELIVERING, "calls": 1_000_000}


@pytest.mark.parametrize(
    ("moment", "counts"),
    [
        ("before a statement", range(1, 60, 4)),
        ("after a statement", range(2, 60, 4)),
        ("before a commit", range(1, 5)),
        ("after a commit", range(1, 5)),
    ],
)
def test_kills_at_each_moment_of_a_delivery(store, nursery, home, moment, counts):
    """A store that is slow takes few large deliveries, so a short run may end before a late moment comes."""
    ends = []
    for number, count in enumerate(counts):
        endless = count < 10 and number % 2 == 0
        ends.append(nursery.wait(nursery.fork(crash=[moment, count], **(ENDLESS if endless else DELIVERING))))
        assert ends[-1] in ({-9} if endless else {-9, 0})
    accounts = settle(store, nursery, home)
    statuses = [store.get_run(run_id).status for run_id in accounts]
    assert statuses.count(RunStatus.FINISHED) >= ends.count(0)
    assert 2 <= statuses.count(RunStatus.KILLED) <= ends.count(-9)


def test_a_kill_between_the_delivery_of_a_run_and_the_removal_of_its_journal(store, nursery, home):
    pid = nursery.fork(crash=["before a removal", 1], **DELIVERING)
    assert nursery.wait(pid) == -9
    assert len(list(home.glob("journal/*/*.journal"))) == 1
    [run_id] = settle(store, nursery, home)
    assert store.get_run(run_id).status is RunStatus.FINISHED


@pytest.mark.parametrize("moment", ["journal made", "journal reserved", "journal mapped", "journal written"])
def test_a_journal_that_was_never_born_promises_nothing(nursery, home, moment):
    pid = nursery.fork(crash=[moment, 1])
    assert nursery.wait(pid) == -9
    [partial] = home.glob("journal/*/*.partial")
    store = ml.open_store()
    assert sync_journals(store) == []
    assert partial.exists(), "its writer may still be making it"
    an_hour_ago = time.time() - 3700
    os.utime(partial, (an_hour_ago, an_hour_ago))
    assert sync_journals(store) == []
    assert not list(home.glob("journal/*"))
    assert ledger.accounts(nursery.ledgers) == {}


def test_a_journal_that_only_has_its_name_is_removed(nursery, home):
    pid = nursery.fork(crash=["journal named", 1])
    assert nursery.wait(pid) == -9
    assert len(list(home.glob("journal/*/*.journal"))) == 1
    [report] = sync_journals(ml.open_store())
    assert (report.records, report.bad_bytes, report.finished) == (0, 0, True)
    assert not list(home.glob("journal/*"))


def acknowledged(nursery, run, worker) -> bool:
    account = ledger.accounts(nursery.ledgers).get(run.run_id)
    return account is not None and any(call.worker == worker for call in account.acknowledged)


def test_eight_processes_log_to_one_run_and_half_of_them_are_killed(store, nursery, home):
    rng = random.Random(3)  # noqa: S311 - moments to kill at
    with ml.start_run("shared") as run:
        run.flush()
        began = time.monotonic()
        shared = {"run_id": run.run_id, "pause": 0.002}
        # Those that are to be killed go on until then.
        pids = [nursery.fork(worker=worker, calls=400 if worker % 2 else 1_000_000, **shared) for worker in range(8)]
        for worker in range(0, 8, 2):
            time.sleep(rng.uniform(0.05, 0.2))
            while not acknowledged(nursery, run, worker):
                assert time.monotonic() - began < 30
            assert nursery.kill(pids[worker]) == -9
        assert [nursery.wait(pid) for pid in pids[1::2]] == [0] * 4
    account = settle(store, nursery, home)[run.run_id]
    calls = [sum(call.worker == worker for call in account.acknowledged) for worker in range(8)]
    assert calls[1::2] == [400] * 4
    assert min(calls) > 0
    assert store.get_run(run.run_id).status is RunStatus.FINISHED
