"""Journals are applied exactly once, and what can never be applied is handed back."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from prefect_ml.entities import (
    JournalSpan,
    LifecycleStage,
    Metric,
    RunBatch,
    RunEnd,
    RunStart,
    RunStatus,
)
from prefect_ml.errors import InvalidInputError, JournalOffsetError


def start(experiment="churn", name="n", at=100, **tags):
    return RunStart(experiment, name, "ann", at, tags)


def test_a_journal_makes_a_whole_run(store):
    batch = RunBatch(
        "r1",
        start=start(team="risk"),
        params={"c": "1"},
        tags={"note": "x"},
        metrics=[Metric("auc", 0.5, 1, 1), Metric("auc", math.nan, 2, 2)],
        end=RunEnd(RunStatus.FINISHED, 200),
    )
    assert store.apply_journal(JournalSpan("j", 0, 10), [batch]) == []
    run = store.get_run("r1")
    assert (run.name, run.user_id, run.status, run.start_time, run.end_time) == (
        "n", "ann", RunStatus.FINISHED, 100, 200,
    )  # fmt: skip
    assert store.get_experiment(run.experiment_id).name == "churn"
    assert run.artifact_uri.endswith(f"/artifacts/{run.experiment_id}/r1/artifacts")
    assert run.params == {"c": "1"}
    assert run.tags == {"team": "risk", "note": "x", "mlflow.runName": "n"}
    assert math.isnan(run.metrics["auc"])
    assert store.journal_offset("j") == 10


def test_a_span_is_applied_once(store):
    first = RunBatch("r1", start=start(), tags={"a": "1"})
    store.apply_journal(JournalSpan("j", 0, 10), [first])
    store.log_batch("r1", tags={"a": "2"})
    for end in (10, 5, 0):
        assert store.apply_journal(JournalSpan("j", 0, end), [first]) == []
    assert store.get_run("r1").tags["a"] == "2"
    store.apply_journal(JournalSpan("j", 10, 20), [RunBatch("r1", tags={"a": "3"})])
    assert store.get_run("r1").tags["a"] == "3"
    assert store.journal_offset("j") == 20


@pytest.mark.parametrize(("begin", "end"), [(5, 15), (0, 15), (11, 15)])
def test_a_span_that_starts_elsewhere_names_where_to_go_on(store, begin, end):
    store.apply_journal(JournalSpan("j", 0, 10), [RunBatch("r1", start=start())])
    with pytest.raises(JournalOffsetError) as caught:
        store.apply_journal(JournalSpan("j", begin, end), [RunBatch("r1", tags={"a": "1"})])
    assert caught.value.expected == 10
    assert "a" not in store.get_run("r1").tags
    assert store.journal_offset("j") == 10


@pytest.mark.parametrize("span", [JournalSpan("j", 5, 1), JournalSpan("j", -1, 1), JournalSpan("j\x00", 0, 1)])
def test_a_span_that_makes_no_sense_is_refused(store, span):
    with pytest.raises(InvalidInputError):
        store.apply_journal(span, [])


def test_an_unknown_journal_stands_at_zero(store):
    assert store.journal_offset("never") == 0
    with pytest.raises(JournalOffsetError):
        store.apply_journal(JournalSpan("never", 3, 5), [])
    assert store.journal_offset("never") == 0


def test_what_can_never_be_applied_is_handed_back_and_the_rest_is_kept(store, place):
    store.apply_journal(JournalSpan("a", 0, 1), [RunBatch("r1", start=start(), params={"c": "1"})])
    store.create_run("0", run_id="gone")
    store.delete_run("gone")
    refused = store.apply_journal(
        JournalSpan("j", 0, 10),
        [
            RunBatch("gone", tags={"a": "1"}),
            RunBatch("../etc", tags={"a": "1"}),
            RunBatch(
                "r1",
                params={"c": "2", "d": "3", "../x": "1", "bad": "\x00"},
                tags={"ok": "1", "": "2"},
                metrics=[
                    Metric("m", 1.0, 1),
                    Metric("m", 1.0, -(2**64)) if place == "http" else Metric("m", "x", 1),
                    Metric("/abs", 1.0, 1),
                    Metric("m", 2.0, 2**63),
                ],
            ),
        ],
    )
    assert [rejection.what for rejection in refused] == [
        "run 'gone'", "run '../etc'", "param '../x'", "param 'bad'", "param 'c'", "tag ''",
        "metric 'm'", "metric '/abs'", "metric 'm'",
    ]  # fmt: skip
    assert "already logged with value='1'" in refused[4].reason
    run = store.get_run("r1")
    assert (run.params, run.metrics, run.tags["ok"]) == ({"c": "1", "d": "3"}, {"m": 1.0}, "1")
    assert "a" not in store.get_run("gone").tags
    assert store.journal_offset("j") == 10


def test_an_unknown_run_is_made_in_the_default_experiment_and_moved_by_its_start(store):
    store.apply_journal(JournalSpan("task", 0, 10), [RunBatch("r1", metrics=[Metric("m", 1.0, 1)])])
    early = store.get_run("r1")
    assert (early.experiment_id, early.status) == ("0", RunStatus.RUNNING)
    store.apply_journal(JournalSpan("flow", 0, 10), [RunBatch("r1", start=start(name="real"))])
    run = store.get_run("r1")
    assert store.get_experiment(run.experiment_id).name == "churn"
    assert (run.name, run.tags["mlflow.runName"], run.start_time, run.user_id) == ("real", "real", 100, "ann")
    assert run.metrics == {"m": 1.0}
    assert run.artifact_uri == early.artifact_uri


def test_a_retry_runs_again_and_an_end_delivered_before_its_start_stays(store):
    end = RunEnd(RunStatus.FAILED, 150)
    store.apply_journal(JournalSpan("hook", 0, 10), [RunBatch("r1", end=end)])
    store.apply_journal(JournalSpan("flow", 0, 10), [RunBatch("r1", start=start(at=100))])
    assert (store.get_run("r1").status, store.get_run("r1").end_time) == (RunStatus.FAILED, 150)
    store.apply_journal(JournalSpan("retry", 0, 10), [RunBatch("r1", start=start(at=160))])
    again = store.get_run("r1")
    assert (again.status, again.end_time, again.start_time) == (RunStatus.RUNNING, None, 100)


def test_a_deleted_experiment_is_restored_by_a_start(store):
    made = store.create_experiment("churn")
    store.delete_experiment(made)
    store.apply_journal(JournalSpan("j", 0, 10), [RunBatch("r1", start=start())])
    assert store.get_experiment(made).lifecycle_stage is LifecycleStage.ACTIVE
    assert store.get_run("r1").experiment_id == made


def test_a_start_that_cannot_be_meant_leaves_the_run_in_the_default_experiment(store):
    bad = RunStart("", "a\x00", "ann", 2**70)
    refused = store.apply_journal(JournalSpan("j", 0, 10), [RunBatch("r1", start=bad, params={"p": "1"})])
    assert [rejection.what for rejection in refused] == ["experiment ''", "name", "start_time"]
    run = store.get_run("r1")
    assert (run.experiment_id, run.params, run.user_id) == ("0", {"p": "1"}, "ann")


def test_threads_that_deliver_the_same_journal_apply_it_once(store):
    def deliver(_):
        position = 0
        while position < 40:
            batch = RunBatch("r1", start=start() if position == 0 else None, metrics=[Metric("m", 1.0, position)])
            try:
                store.apply_journal(JournalSpan("j", position, position + 10), [batch])
                position += 10
            except JournalOffsetError as error:
                position = error.expected

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(deliver, range(4)))
    assert [point.timestamp for point in store.get_metric_history("r1", "m").items] == [0, 10, 20, 30]


def test_journals_of_many_threads_make_one_run_and_one_experiment(store):
    def deliver(number):
        batch = RunBatch("r1", start=start("shared"), params={f"p{number}": "1"}, metrics=[Metric("m", 1.0, number)])
        return store.apply_journal(JournalSpan(f"j{number}", 0, 10), [batch])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(deliver, range(24))) == [[]] * 24
    assert len(store.get_run("r1").params) == 24
    assert len(store.get_metric_history("r1", "m").items) == 24
    assert store.get_experiment_by_name("shared").experiment_id == store.get_run("r1").experiment_id
