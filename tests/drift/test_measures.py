"""How far samples are apart, checked by what is known of the measures."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from prefect_ml.drift.compare import Bounds, compare
from prefect_ml.drift.measures import how_far
from prefect_ml.drift.reference import Sample


def normal(mean=0.0, count=5000, seed=1):
    return np.random.default_rng(seed).normal(mean, 1.0, count)


def column(values, type_=None):
    return pa.chunked_array([pa.array(values, type_)])


def test_the_index_of_shares_that_are_known():
    before = ["a"] * 50 + ["b"] * 50
    after = ["a"] * 80 + ["b"] * 20
    by_hand = (0.8 - 0.5) * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5)
    assert how_far(column(before), column(after)).psi == pytest.approx(by_hand)
    assert how_far(column(before), column(before)).psi == 0


def test_a_shifted_normal_is_as_far_as_the_books_say():
    shift = 1.0
    apart = how_far(column(normal()), column(normal(shift, seed=2)))
    # Of two normals, the divergence is the square of the shift; binning into tenths loses some of it.
    assert 0.75 < apart.psi < 1.05
    assert apart.ks == pytest.approx(2 * norm.cdf(shift / 2) - 1, abs=0.03)
    assert apart.p_value < 1e-9


def test_samples_of_one_distribution_are_near():
    apart = how_far(column(normal(seed=1)), column(normal(seed=2)))
    assert apart.psi < 0.02
    assert apart.p_value > 0.001
    assert kstest(normal(seed=2), "norm").pvalue > 0.001


def test_numbers_that_no_double_holds_and_times_are_compared():
    ids = column([2**53 + 1 + number for number in range(300)], pa.int64())
    assert how_far(ids, ids) == (0.0, 0.0, 1.0)
    for unit in ("s", "ms", "us", "ns"):
        begin = (
            int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp())
            * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        )
        before = column(range(begin, begin + 300), pa.timestamp(unit))
        after = column(range(begin + 1000, begin + 1300), pa.timestamp(unit))
        assert how_far(before, before).ks == 0
        assert how_far(before, after).ks == 1
    assert how_far(column([2**64 - 1] * 60, pa.uint64()), column([5] * 60, pa.uint64())).ks == 1


def test_infinity_is_a_number_larger_than_all():
    before = [*map(float, range(200)), *[np.inf] * 100, *[-np.inf] * 100]
    apart = how_far(column(before), column(before))
    assert apart == (0.0, 0.0, 1.0)
    assert how_far(column(before), column([np.inf] * 400)).psi > 1


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False, width=32)), min_size=1, max_size=60),
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False, width=32)), min_size=1, max_size=60),
)
def test_any_numbers_have_a_finite_index_and_equal_ones_none(before, after):
    reference, window = column(before, pa.float64()), column(after, pa.float64())
    apart = how_far(reference, window)
    assert np.isfinite(apart.psi)
    assert apart.psi >= 0
    assert how_far(reference, reference).psi == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (column([True] * 90 + [False] * 10), column([True] * 10 + [False] * 90)),
        (column(["a", "b"] * 50).dictionary_encode(), column(["c"] * 100)),
        (column([1.0] * 100), column([None] * 90 + [1.0] * 10, pa.float64())),
        (column([1, 2] * 50), column(["x"] * 100)),
        (column([dt.date(2026, 1, 1 + n % 28) for n in range(100)]), column([dt.date(2026, 6, 1)] * 100)),
        (column([None] * 100, pa.null()), column([1.0] * 100)),
    ],
)
def test_other_kinds_of_columns_drift_too(before, after):
    assert how_far(before, after).psi > 1


def test_lists_are_not_compared():
    lists = column([[1, 2], [3]])
    assert how_far(lists, lists) is None


def test_columns_are_compared_by_the_names_of_the_log():
    window = pa.table({
        "_at": [dt.datetime.now(dt.UTC)] * 500,
        "input.size": normal(2.0, 500),
        "input.kind": ["a", "b"] * 250,
        "input.new": normal(0.0, 500),
        "output.prediction": normal(0.0, 500, seed=3),
    })  # fmt: skip
    reference = pa.table({
        "size": normal(0.0, 1000), "kind": ["a", "b"] * 500, "target": [1] * 1000, "prediction": normal(0.0, 1000)
    })  # fmt: skip
    found = {each.name: each for each in compare(reference, window, Bounds()).columns}
    assert set(found) == {"input.size", "input.kind", "input.new", "output.prediction"}
    assert [name for name, each in found.items() if each.drifted] == ["input.size"]
    assert "population stability index is above 0.25 and its Kolmogorov" in found["input.size"].why
    assert found["input.new"].why == "the reference lacks it"
    kept = reference.select(["size"]).rename_columns(["input.gone"])
    gone = {each.name: each for each in compare(kept, window, Bounds()).columns}["input.gone"]
    assert gone.drifted
    assert gone.why == "it is not asked with any more"


def test_few_rows_say_nothing():
    small = pa.table({"input.x": normal(5.0, 40)})
    found = compare(pa.table({"input.x": normal()}), small, Bounds())
    assert not found.columns
    assert found.too_few == "the window has 40 rows, of 200 that are needed"


def test_a_sample_is_of_all_tables_alike():
    sample = Sample(1000)
    for start in range(0, 20_000, 500):
        sample.add(pa.table({"x": list(range(start, start + 500))}))
    found = sample.table().column("x").to_pylist()
    assert len(found) == len(set(found)) == 1000
    assert found == sorted(found)
    quarters = np.histogram(found, bins=4, range=(0, 20_000))[0]
    assert quarters.min() > 180
