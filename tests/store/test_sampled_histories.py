"""A metric of several runs at the same steps, evenly over all of them."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ml.entities import Metric
from prefect_ml.errors import InvalidInputError, NotFoundError


def curve(store, run_id, steps, *, key="loss", start=0):
    store.create_run("0", run_id=run_id)
    store.log_batch(run_id, metrics=[Metric(key, float(step), start + step, step) for step in steps])


def sampled(store, run_ids, max_points, steps=None, key="loss"):
    found = store.sample_metric_histories(run_ids, key, steps, max_points)
    return {run_id: [point.step for point in points] for run_id, points in found}


def test_short_curves_come_whole(store):
    curve(store, "b", [0, 5, 7])
    curve(store, "a", range(3))
    store.create_run("0", run_id="none")
    found = store.sample_metric_histories(["b", "none", "a", "b"], "loss", None, 10)
    assert [(run_id, list(points)) for run_id, points in found] == [
        ("a", list(store.get_metric_history("a", "loss").items)),
        ("b", list(store.get_metric_history("b", "loss").items)),
    ]
    assert list(store.sample_metric_histories([], "loss", None, 10)) == []
    assert list(store.sample_metric_histories(["a"], "never logged", None, 10)) == []


def test_longer_ones_at_steps_evenly_over_all_and_at_the_last_of_each(store):
    """The numbers are those that MLflow gives."""
    curve(store, "a", range(10))
    assert sampled(store, ["a"], 2) == {"a": [0, 5, 9]}
    curve(store, "b", range(20))
    assert sampled(store, ["a", "b"], 5) == {"a": [0, 4, 8, 9], "b": [0, 4, 8, 9, 12, 16, 19]}


def test_only_between_two_steps(store):
    curve(store, "a", range(-5, 100))
    assert sampled(store, ["a"], 100, (0, 4)) == {"a": [0, 1, 2, 3, 4]}
    assert sampled(store, ["a"], 2, (10, 13)) == {"a": [10, 12, 13]}
    assert sampled(store, ["a"], 2, (200, 300)) == {}


def test_several_points_at_a_step(store):
    store.create_run("0", run_id="a")
    store.log_batch(
        "a", metrics=[Metric("loss", value, time, 0) for time, value in enumerate([math.nan, 1.0, math.inf])]
    )
    assert [point.timestamp for point in store.sample_metric_histories(["a"], "loss", None, 9)[0][1]] == [0, 1, 2]
    # A run that gives no steps is sampled over its time.
    store.log_batch("a", metrics=[Metric("loss", 0.5, time, 0) for time in range(3, 100)])
    times = [point.timestamp for point in store.sample_metric_histories(["a"], "loss", None, 12)[0][1]]
    assert times[0] == 0
    assert times[-1] == 99
    assert len(times) == 12
    assert max(b - a for a, b in itertools.pairwise(times)) <= 10


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((["nobody"], "loss", None, 5), NotFoundError, "Run with id=nobody not found"),
        ((["a"], "loss", None, 0), InvalidInputError, "max_points must be an integer from 1"),
        ((["a"], "loss", (0, 2**63), 5), InvalidInputError, "A step must be an integer of at most 64 bits"),
        ((["a"], "lo\x00ss", None, 5), InvalidInputError, "NUL"),
        (([str(number) for number in range(1001)], "loss", None, 5), InvalidInputError, "at most 1000 runs, got 1001"),
        (([str(number) for number in range(101)], "loss", None, 10_000), InvalidInputError, "at most 1,000,000 points"),
    ],
)
def test_what_cannot_be_asked(store, arguments, error, message):
    curve(store, "a", range(3))
    with pytest.raises(error, match=message):
        store.sample_metric_histories(*arguments)


STEPS = st.lists(st.integers(-3, 30) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=25, unique=True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(STEPS, min_size=1, max_size=3),
    st.integers(1, 12),
    st.tuples(st.integers(-3, 20), st.integers(20, 40)) | st.none(),
)
def test_whatever_the_curves_few_points_with_the_last_of_each(store, curves, max_points, steps):
    runs = [store.create_run("0").run_id for _ in curves]
    for run, given_steps in zip(runs, curves, strict=True):
        store.log_batch(run, metrics=[Metric("m", 0.0, 0, step) for step in given_steps])
    first, last = steps or (-(2**63), 2**63 - 1)
    found = sampled(store, runs, max_points, steps, "m")
    for run, given_steps in zip(runs, curves, strict=True):
        there = sorted(step for step in given_steps if first <= step <= last)
        if not there:
            assert run not in found
            continue
        assert found[run] == sorted(set(found[run]) & set(there))
        assert found[run][-1] == there[-1]
        assert len(found[run]) <= max_points + len(runs)
    if all(len(each) <= max_points for each in curves):
        union = sorted({s for each in curves for s in each if first <= s <= last})
        kept = {s for each in found.values() for s in each}
        assert kept == set(union) if len(union) <= max_points else kept <= set(union)
