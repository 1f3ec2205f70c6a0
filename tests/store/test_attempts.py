"""Attempts say how a run is, whoever tells of their start and end, and in whatever order."""

from __future__ import annotations

import time

import pytest

from prefect_ml.entities import Attempt, JournalSpan, RunBatch, RunEnd, RunStart, RunStatus
from prefect_ml.errors import NotFoundError


@pytest.fixture
def tell(store):
    """Apply a batch of run "r" as its next journal."""
    count = iter(range(1000))

    def apply(**batch):
        return store.apply_journal(JournalSpan(f"j{next(count)}", 0, 8), [RunBatch("r", **batch)])

    return apply


def start(attempt_id, number=1, at=100):
    return RunStart("churn", "n", "ann", at, {}, Attempt("r", attempt_id, number, at, host="here", pid=7))


def status(store):
    run = store.get_run("r")
    return run.status, run.end_time


def test_an_attempt_is_recorded_from_start_to_end(store, tell):
    tell(start=start("a"))
    [attempt] = store.get_attempts("r")
    assert (attempt.attempt_id, attempt.number, attempt.start_time, attempt.host, attempt.pid) == (
        "a", 1, 100, "here", 7,
    )  # fmt: skip
    assert (attempt.end_time, attempt.outcome, attempt.presumed) == (None, None, False)
    assert abs(attempt.seen - time.time() * 1000) < 60_000
    tell(end=RunEnd(RunStatus.FINISHED, 200, "a"))
    [attempt] = store.get_attempts("r")
    assert (attempt.end_time, attempt.outcome) == (200, RunStatus.FINISHED)
    assert status(store) == (RunStatus.FINISHED, 200)


def test_the_latest_attempt_decides(store, tell):
    tell(start=start("a"))
    tell(start=start("b", 2, 300))
    tell(end=RunEnd(RunStatus.FAILED, 200, "a"))
    assert status(store) == (RunStatus.RUNNING, None)
    tell(end=RunEnd(RunStatus.FINISHED, 400, "b"))
    assert status(store) == (RunStatus.FINISHED, 400)
    tell(end=RunEnd(RunStatus.KILLED, 500, number=1))
    assert status(store) == (RunStatus.FINISHED, 400)
    assert [(each.outcome, each.end_time) for each in store.get_attempts("r")] == [("FAILED", 200), ("FINISHED", 400)]


def test_a_late_start_of_an_earlier_attempt_changes_nothing(store, tell):
    tell(start=start("b", 2, 300), end=RunEnd(RunStatus.FINISHED, 400, "b"))
    tell(start=start("a", 1, 100))
    assert status(store) == (RunStatus.FINISHED, 400)
    assert store.get_run("r").start_time == 100


def test_a_suspended_run_waits_and_goes_on(store, tell):
    tell(start=start("a"), end=RunEnd(RunStatus.SCHEDULED, 200, "a"))
    assert status(store) == (RunStatus.SCHEDULED, None)
    assert store.silent_attempts(-60) == []
    tell(start=start("b", 1, 300))
    assert status(store) == (RunStatus.RUNNING, None)
    tell(end=RunEnd(RunStatus.FINISHED, 400, number=1))
    assert status(store) == (RunStatus.FINISHED, 400)
    assert [each.outcome for each in store.get_attempts("r")] == ["SCHEDULED", "FINISHED"]


def test_an_end_without_an_attempt_ends_those_that_live(store, tell):
    tell(start=start("a"))
    tell(end=RunEnd(RunStatus.KILLED, 90))
    assert status(store) == (RunStatus.KILLED, 90)
    assert [each.outcome for each in store.get_attempts("r")] == ["KILLED"]


def test_silence_is_measured_by_the_store(store, tell):
    tell(start=start("a"))
    assert store.silent_attempts(60) == []
    [silent] = store.silent_attempts(-60)
    assert (silent.run_id, silent.attempt_id) == ("r", "a")


def test_a_silent_attempt_is_presumed_dead_and_comes_back(store, tell):
    tell(start=start("a"))
    [silent] = store.silent_attempts(-60)
    assert store.presume_ended("r", "a", RunStatus.KILLED, 150, seen=silent.seen)
    assert status(store) == (RunStatus.KILLED, 150)
    assert store.get_attempts("r")[0].presumed
    assert not store.presume_ended("r", "a", RunStatus.FAILED, 160)
    store.heartbeat(["a", "of another store"])
    assert status(store) == (RunStatus.RUNNING, None)
    [attempt] = store.get_attempts("r")
    assert (attempt.end_time, attempt.outcome, attempt.presumed) == (None, None, False)


def test_a_sign_of_life_between_look_and_verdict_counts(store, tell):
    tell(start=start("a"))
    [silent] = store.silent_attempts(-60)
    time.sleep(0.01)
    store.heartbeat(["a"])
    assert not store.presume_ended("r", "a", RunStatus.KILLED, 150, seen=silent.seen)
    assert status(store) == (RunStatus.RUNNING, None)


def test_the_true_end_of_one_presumed_dead_counts(store, tell):
    tell(start=start("a"))
    assert store.presume_ended("r", "a", RunStatus.KILLED, 150)
    tell(end=RunEnd(RunStatus.FINISHED, 200, "a"))
    assert status(store) == (RunStatus.FINISHED, 200)
    assert not store.get_attempts("r")[0].presumed


def test_what_ended_is_not_revived_by_a_heartbeat(store, tell):
    tell(start=start("a"), end=RunEnd(RunStatus.FINISHED, 200, "a"))
    store.heartbeat(["a"])
    store.heartbeat([])
    assert status(store) == (RunStatus.FINISHED, 200)


def test_an_attempt_that_others_took_over_does_not_end_the_run(store, tell):
    tell(start=start("a"))
    tell(start=start("b", 2, 300))
    assert store.presume_ended("r", "a", RunStatus.KILLED, 150)
    assert status(store) == (RunStatus.RUNNING, None)


def test_unknown_runs(store):
    with pytest.raises(NotFoundError):
        store.get_attempts("never")
    with pytest.raises(NotFoundError):
        store.presume_ended("never", "a", RunStatus.KILLED, 1)


def test_a_presumed_end_is_corrected_by_who_knows_better(store):
    store.apply_journal(
        JournalSpan("j", 0, 1), [RunBatch("r", RunStart("e", "n", "u", 100, {}, Attempt("r", "a", 1, 100)))]
    )
    assert store.presume_ended("r", "a", RunStatus.KILLED, 150)
    assert not store.presume_ended("r", "a", RunStatus.SCHEDULED, 160)
    assert store.presume_ended("r", "a", RunStatus.FINISHED, 160, anew=True)
    [attempt] = store.get_attempts("r")
    assert (attempt.outcome, attempt.end_time, attempt.presumed) == (RunStatus.FINISHED, 160, True)
    assert (store.get_run("r").status, store.get_run("r").end_time) == (RunStatus.FINISHED, 160)
