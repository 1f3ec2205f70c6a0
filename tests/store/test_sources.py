"""A later execution of the same code replaces what an earlier one recorded, and nothing else does."""

from __future__ import annotations

import math
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ml.entities import JournalSpan, Metric, Recorded, RunBatch, Source, Step

FIRST, SECOND = Source("a", 1, 100), Source("b", 2, 200)


def task(attempt, scope, run, retry=0):
    return attempt._replace(scope=scope, task_run_id=run, retry=retry)


@pytest.fixture
def record(store):
    count = iter(range(10_000))

    def apply(run_id, *recorded):
        batch = RunBatch(run_id, recorded=[Recorded(source, metrics) for source, metrics in recorded])
        assert store.apply_journal(JournalSpan(f"{run_id}{next(count)}", 0, 8), [batch]) == []

    return apply


def curve(store, run_id="r", key="loss"):
    return [(m.step, m.value) for m in store.get_metric_history(run_id, key).items]


def loss(*values, first=0, at=1):
    return [Metric("loss", float(value), at, step) for step, value in enumerate(values, first)]


def test_a_second_attempt_replaces_step_by_step(store, record):
    record("r", (FIRST, loss(1, 2, 3)))
    record("r", (SECOND, loss(10, 20, at=50)))
    assert curve(store) == [(0, 10.0), (1, 20.0), (2, 3.0)]
    assert store.get_run("r").metrics == {"loss": 3.0}
    record("r", (SECOND, loss(30, first=2, at=60)))
    assert curve(store) == [(0, 10.0), (1, 20.0), (2, 30.0)]
    assert store.get_run("r").metrics == {"loss": 30.0}


def test_the_latest_value_is_the_new_one_even_when_it_is_smaller(store, record):
    record("r", (FIRST, loss(9, at=70)))
    record("r", (SECOND, loss(1, at=50)))
    assert store.get_run("r").metrics == {"loss": 1.0}


def test_what_an_earlier_attempt_delivers_late_does_not_come_back(store, record):
    record("r", (SECOND, loss(10, 20)))
    record("r", (FIRST, loss(1, 2, 3)))
    assert curve(store) == [(0, 10.0), (1, 20.0), (2, 3.0)]


def test_both_attempts_in_one_batch(store, record):
    record("r", (FIRST, loss(1, 2, 3)), (SECOND, loss(10, 20)))
    assert curve(store) == [(0, 10.0), (1, 20.0), (2, 3.0)]
    record("s", (SECOND, loss(10, 20)), (FIRST, loss(1, 2, 3)))
    assert curve(store, "s") == [(0, 10.0), (1, 20.0), (2, 3.0)]


def test_calls_of_a_task_do_not_replace_each_other(store, record):
    record("r", (task(FIRST, "fit:1", "t1"), loss(1)), (task(FIRST, "fit:2", "t2"), loss(2)))
    record("r", (task(FIRST, "fit:1", "t3"), loss(3)))
    assert curve(store) == [(0, 1.0), (0, 2.0), (0, 3.0)]


def test_a_retried_task_replaces_its_own_only(store, record):
    record("r", (task(FIRST, "fit:1", "t1"), loss(1, 1)), (task(FIRST, "fit:1", "other"), loss(2)))
    record("r", (task(FIRST, "fit:1", "t1", retry=1), loss(5)))
    assert curve(store) == [(0, 2.0), (0, 5.0), (1, 1.0)]


def test_a_task_that_is_not_executed_again_keeps_its_points(store, record):
    record("r", (task(FIRST, "fit:1", "t1"), loss(1)), (task(FIRST, "fit:2", "t2"), loss(2)))
    record("r", (task(SECOND, "fit:2", "t3"), loss(20)))
    assert curve(store) == [(0, 1.0), (0, 20.0)]


def test_points_of_no_known_source_stay(store, record):
    store.apply_journal(JournalSpan("j", 0, 8), [RunBatch("r", metrics=loss(1))])
    record("r", (FIRST, loss(2)))
    record("r", (SECOND, loss(3)))
    store.log_batch("r", metrics=loss(4))
    assert curve(store) == [(0, 1.0), (0, 3.0), (0, 4.0)]


def test_runs_do_not_touch_each_other(store, record):
    record("r", (FIRST, loss(1)))
    record("s", (SECOND, loss(2)))
    assert (curve(store), curve(store, "s")) == ([(0, 1.0)], [(0, 2.0)])


def test_a_point_that_is_logged_again_unchanged(store, record):
    record("r", (FIRST, [Metric("loss", math.nan, 5, 0)]))
    record("r", (SECOND, [Metric("loss", math.nan, 5, 0)]))
    [point] = store.get_metric_history("r", "loss").items
    assert math.isnan(point.value)


def test_many_points_are_replaced(store, record):
    record("r", (FIRST, [Metric(f"m{k}", 1.0, 1, step) for k in range(3) for step in range(1500)]))
    record("r", (SECOND, [Metric(f"m{k}", 2.0, 2, step) for k in range(3) for step in range(1499)]))
    for key in ("m0", "m1", "m2"):
        assert [m.value for m in store.get_metric_history("r", key).items] == [2.0] * 1499 + [1.0]


def test_steps_show_what_their_tasks_recorded(store, record):
    names = {"param": ["c"], "artifact": ["roc.png"]}
    one, two = task(FIRST, "fit:1", "t1"), task(FIRST, "fit:2", "t2")
    batch = RunBatch("r", recorded=[Recorded(one, loss(1), names), Recorded(two, (), {"tag": ["x"]})])
    store.apply_journal(JournalSpan("j", 0, 8), [batch])
    steps = [
        Step("t1", "fit-0", "fit:1", "Running", 10, None, 1),
        Step("t2", "fit-1", "fit:2", "Completed", 11, 12, 2),
        Step("t3", "load", "load:1", "Cached", None, None, 0),
    ]
    store.save_steps("r", steps)
    store.save_steps("r", [Step("t1", "fit-0", "fit:1", "Completed", 10, 20, 1)])
    found = {step.task_run_id: step for step in store.get_steps("r")}
    assert found["t1"] == Step(
        "t1", "fit-0", "fit:1", "Completed", 10, 20, 1,
        {"artifact": ["roc.png"], "metric": ["loss"], "param": ["c"]},
    )  # fmt: skip
    assert found["t2"] == Step("t2", "fit-1", "fit:2", "Completed", 11, 12, 2, {"tag": ["x"]})
    assert found["t3"] == steps[2]


EXECUTIONS = [task(Source("a", 1, 1), scope, f"{scope}a", retry) for scope in ("", "x", "y") for retry in range(2)] + [
    task(Source("b", 2, 5), scope, f"{scope}b", retry) for scope in ("", "x", "y") for retry in range(2)
]
WRITES = st.lists(
    st.tuples(st.sampled_from(EXECUTIONS), st.lists(st.tuples(st.sampled_from("kl"), st.integers(0, 2)), max_size=3)),
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WRITES, st.data())
def test_any_order_of_arrival_leaves_the_same(store, record, writes, data):
    """Of each scope and step the latest execution's points are there, in whatever order they came."""
    batches = [
        (source, [Metric(key, float(number), number, step) for key, step in points])
        for number, (source, points) in enumerate(writes)
        if points
    ]
    rank = {source: (source.number, source.retry) for source, _ in batches}
    expected = set()
    for key in "kl":
        for step in range(3):
            for scope in ("", "x", "y"):
                here = [
                    (rank[source], metric)
                    for source, metrics in batches
                    for metric in metrics
                    if (metric.key, metric.step, source.scope) == (key, step, scope)
                ]
                best = max((found for found, _ in here), default=None)
                expected |= {metric for found, metric in here if found == best}
    run_id = uuid.uuid4().hex
    for batch in data.draw(st.permutations(batches)):
        record(run_id, batch)
    if batches:
        found = {metric for key in "kl" for metric in store.get_metric_history(run_id, key).items}
        assert found == expected
        latest = store.get_run(run_id).metrics
        assert latest == {
            key: max((m for m in expected if m.key == key), key=lambda m: (m.step, m.timestamp)).value for key in latest
        }
