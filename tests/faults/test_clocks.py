"""A clock that is set back by an hour in the middle of a training."""

from __future__ import annotations

import itertools

import ledger
import pytest

import prefect_ml as ml
from prefect_ml.entities import RunStatus

HOUR = 3600.0


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_nothing_is_lost_or_doubled_and_curves_stay_in_order(nursery, seconds):
    kinds = ["metric", "metrics", "params", "tags"] * 5 + ["text"]
    pid = nursery.fork(calls=400, kinds=kinds, clock=[200, seconds], pause=0.001)
    assert nursery.wait(pid) == 0, nursery.errors
    store = ml.open_store()
    accounts = ledger.accounts(nursery.ledgers)
    assert ledger.check(store, accounts).wrong == {}
    [(run_id, account)] = accounts.items()
    assert len(account.acknowledged) == 400
    run, points = store.get_run(run_id), store.get_metric_history(run_id, "loss").items
    assert run.status is RunStatus.FINISHED
    assert [point.step for point in points] == sorted(point.step for point in points)
    assert run.metrics["loss"] == points[-1].value, "the last step counts, not the latest time"
    jumps = [after.timestamp - before.timestamp for before, after in itertools.pairwise(points)]
    assert max(jumps, key=abs) == pytest.approx(seconds * 1000, abs=30_000)


def test_processes_with_clocks_an_hour_apart_log_to_one_run(nursery):
    with ml.start_run("clocks") as run:
        apart = {"run_id": run.run_id, "calls": 150, "kinds": ["metric", "params", "tags"]}
        pids = [nursery.fork(worker=worker, clock=[0, (worker - 1) * HOUR], **apart) for worker in range(3)]
        assert [nursery.wait(pid) for pid in pids] == [0, 0, 0], nursery.errors
    store = ml.open_store()
    assert ledger.check(store, ledger.accounts(nursery.ledgers)).wrong == {}
    found = store.get_run(run.run_id)
    assert found.status is RunStatus.FINISHED
    assert found.start_time <= found.end_time


def test_a_run_killed_after_the_clock_was_set_back_is_ended(nursery, monkeypatch):
    from prefect_ml.tracking.sync import sync_journals

    monkeypatch.setenv("PREFECT_ML_WATCH", "false")
    pid = nursery.fork(kinds=["metric"], clock=[0, -HOUR], crash=["before a commit", 3])
    assert nursery.wait(pid) == -9
    store = ml.open_store()
    assert all(report.finished for report in sync_journals(store))
    accounts = ledger.accounts(nursery.ledgers)
    assert ledger.check(store, accounts).wrong == {}
    [run_id] = accounts
    assert store.get_run(run_id).status is RunStatus.KILLED
