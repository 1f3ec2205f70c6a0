"""Curves and latest values on both databases."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ml.entities import Metric
from prefect_ml.errors import InvalidInputError


@pytest.fixture
def run_id(store):
    return store.create_run("0").run_id


def rank(point):
    """The order of points: a NaN is a 0 and above it."""
    return (
        point.step,
        point.timestamp,
        0.0 if math.isnan(point.value) else point.value,
        math.isnan(point.value),
    )


def same(left, right):
    return [tuple(map(str, point)) for point in left] == [tuple(map(str, point)) for point in right]


def test_points_come_back_exactly_and_in_order(store, run_id):
    values = [0.1 + 0.2, 1e308, -1e-308, 5e-324, math.pi, -0.5, float(2**53 + 1)]
    points = [Metric("loss", value, 1_700_000_000_000 + step, step) for step, value in enumerate(values, -3)]
    store.log_batch(run_id, metrics=points[::-1])
    assert list(store.get_metric_history(run_id, "loss").items) == points
    assert store.get_run(run_id).metrics == {"loss": values[-1]}


def test_nan_and_infinities_are_kept(store, run_id):
    points = [Metric("m", value, 1, step) for step, value in enumerate([math.inf, -math.inf, math.nan, 1.0])]
    store.log_batch(run_id, metrics=points)
    assert same(store.get_metric_history(run_id, "m").items, points)
    for key, value in (("inf", math.inf), ("minus", -math.inf), ("nan", math.nan)):
        store.log_batch(run_id, metrics=[Metric(key, value, 1)])
        assert str(store.get_run(run_id).metrics[key]) == str(value)


def test_an_identical_point_is_there_once(store, run_id):
    point = Metric("m", 1.0, 1, 1)
    store.log_batch(run_id, metrics=[point, point, Metric("m", math.nan, 1, 1), Metric("m", math.nan, 1, 1)])
    store.log_batch(run_id, metrics=[point])
    assert len(store.get_metric_history(run_id, "m").items) == 2


@pytest.mark.parametrize("seed", range(6))
def test_the_latest_value_is_the_largest_by_step_time_and_value(store, run_id, seed):
    chance = random.Random(seed)  # noqa: S311  random on purpose, and the same each time
    values = [0.0, -1.0, 1.0, math.nan, math.inf, -math.inf]
    points = [
        Metric(chance.choice("ab"), chance.choice(values), chance.randrange(3), chance.randrange(-1, 2))
        for _ in range(60)
    ]
    while points:
        size = chance.randrange(1, 9)
        now, points = points[:size], points[size:]
        store.log_batch(run_id, metrics=now)
        for key, value in store.get_run(run_id).metrics.items():
            history = store.get_metric_history(run_id, key).items
            assert str(value) == str(history[-1].value) == str(max(history, key=rank).value)


@pytest.mark.parametrize("value", ["1", None, True, 1j, [1.0], 10**400])
def test_a_value_that_is_no_number_is_refused_and_nothing_is_kept(store, run_id, value):
    with pytest.raises(InvalidInputError, match="metric 'm'"):
        store.log_batch(run_id, metrics=[Metric("ok", 1.0, 1), Metric("m", value, 1)], params={"p": "1"})
    run = store.get_run(run_id)
    assert (run.metrics, run.params) == ({}, {})


@pytest.mark.parametrize(
    ("timestamp", "step"), [(2**63, 0), (0, 2**63), (0, -(2**63) - 1), (1.5, 0), (0, "1"), (0, True)]
)
def test_a_step_or_time_beyond_64_bits_is_refused(store, run_id, timestamp, step):
    with pytest.raises(InvalidInputError, match="metric 'm'"):
        store.log_batch(run_id, metrics=[Metric("m", 1.0, timestamp, step)])


def test_the_ends_of_64_bits_are_kept(store, run_id):
    points = [Metric("m", 1.0, -(2**63), -(2**63)), Metric("m", 2.0, 2**63 - 1, 2**63 - 1)]
    store.log_batch(run_id, metrics=points)
    assert list(store.get_metric_history(run_id, "m").items) == points


def test_an_integer_value_becomes_a_float(store, run_id):
    store.log_batch(run_id, metrics=[Metric("m", 3, 1)])
    assert repr(store.get_run(run_id).metrics["m"]) == "3.0"


def test_history_pages_without_gap_or_overlap(store, run_id):
    values = [math.nan, math.inf, -math.inf, 1.5, 0.0]
    points = sorted((Metric("m", values[i % 5], i % 7, i % 11) for i in range(300)), key=rank)
    unique = list(dict.fromkeys(map(str, points)))
    store.log_batch(run_id, metrics=points)
    found, token = [], None
    while True:
        page = store.get_metric_history(run_id, "m", max_results=17, page_token=token)
        found += page.items
        token = page.next_token
        if token is None:
            break
        assert len(page.items) == 17
    assert list(map(str, found)) == unique
    assert same(found, store.get_metric_history(run_id, "m").items)


@pytest.mark.parametrize("token", ["evilhax", "e30=", "WzFd", "é", "[]", "bnVsbA=="])
def test_a_token_that_is_not_ours_is_refused(store, run_id, token):
    with pytest.raises(InvalidInputError, match="Invalid page token"):
        store.get_metric_history(run_id, "m", max_results=5, page_token=token)


def test_a_token_of_another_curve_is_refused(store, run_id):
    store.log_batch(run_id, metrics=[Metric(key, 1.0, 1, step) for step in range(3) for key in "ab"])
    token = store.get_metric_history(run_id, "a", max_results=1).next_token
    with pytest.raises(InvalidInputError, match="another search"):
        store.get_metric_history(run_id, "b", max_results=1, page_token=token)


@pytest.mark.parametrize("size", [0, -1, True, 1.5, 10**9])
def test_a_page_size_out_of_bounds_is_refused(store, run_id, size):
    with pytest.raises(InvalidInputError, match="max_results"):
        store.get_metric_history(run_id, "m", max_results=size)


@pytest.mark.parametrize(("count", "most"), [(0, 5), (1, 5), (2, 2), (5, 5), (6, 5), (1000, 7), (999, 998), (1000, 2)])
def test_a_sample_is_even_with_the_first_and_the_last(store, run_id, count, most):
    points = [Metric("m", float(step), step, step) for step in range(count)]
    store.log_batch(run_id, metrics=points)
    sample = list(store.sample_metric_history(run_id, "m", most))
    assert len(sample) == min(count, most)
    if count:
        assert (sample[0], sample[-1]) == (points[0], points[-1])
    gaps = {after.step - before.step for before, after in pairwise(sample)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_a_sample_needs_room_for_two(store, run_id):
    with pytest.raises(InvalidInputError, match="at least 2"):
        store.sample_metric_history(run_id, "m", 1)


def test_a_curve_that_was_never_logged_is_empty(store, run_id):
    assert list(store.get_metric_history(run_id, "never").items) == []
    assert list(store.sample_metric_history(run_id, "never", 5)) == []


def test_a_history_by_time_is_mlflows(store, run_id):
    points = [
        Metric("m", 1.0, 1000, 0),
        Metric("m", 2.0, 2000, -5),
        Metric("m", -3.0, 3000, 4),
        Metric("m", 4.0, 2999, 4),
    ]
    store.log_batch(run_id, metrics=points)
    assert [point.value for point in store.get_metric_history(run_id, "m", by_time=True).items] == [1.0, 2.0, 4.0, -3.0]
    assert [point.value for point in store.get_metric_history(run_id, "m").items] == [2.0, 1.0, 4.0, -3.0]


SOME = st.lists(
    st.builds(
        Metric, st.just("m"), st.sampled_from([0.0, 1.0, math.nan, -math.inf]), st.integers(0, 3), st.integers(0, 3)
    ),
    max_size=9,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SOME, st.integers(1, 4), st.booleans())
def test_pages_of_any_curve_are_its_history_in_either_order(store, points, size, by_time):
    run_id = store.create_run("0").run_id
    store.log_batch(run_id, metrics=points)

    def shown(metrics):
        return [(m.timestamp, m.step, repr(m.value)) for m in metrics]

    found, token = [], None
    while True:
        page = store.get_metric_history(run_id, "m", size, token, by_time=by_time)
        found += page.items
        token = page.next_token
        if token is None:
            break
        assert len(page.items) == size
    assert shown(found) == shown(store.get_metric_history(run_id, "m", by_time=by_time).items)
    order = [(m.timestamp, m.step) if by_time else (m.step, m.timestamp) for m in found]
    assert order == sorted(order)
    assert len(found) == len({(m.timestamp, m.step, repr(m.value)) for m in points})


def test_a_token_of_one_order_is_none_of_the_other(store, run_id):
    store.log_batch(run_id, metrics=[Metric("m", 1.0, 0, step) for step in range(3)])
    token = store.get_metric_history(run_id, "m", 1, by_time=True).next_token
    with pytest.raises(InvalidInputError, match="Invalid page token"):
        store.get_metric_history(run_id, "m", 1, token)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 17, 33, 999, 1024, 1025, 2500])
def test_a_batch_of_any_size_is_kept_whole(store, run_id, size):
    points = [Metric(f"m{number % 3}", float(number), 1, number) for number in range(size)]
    pairs = {f"k{number}": str(number) for number in range(size)}
    store.log_batch(run_id, metrics=points, params=pairs, tags=pairs)
    found = [point for key in ("m0", "m1", "m2") for point in store.get_metric_history(run_id, key).items]
    assert sorted(found) == sorted(points)
    run = store.get_run(run_id)
    assert run.params == pairs
    assert run.tags == pairs | {"mlflow.runName": run.name}
