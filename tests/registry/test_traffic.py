"""What counts of requests say: quantiles, and the distance of predictions, against numpy on the raw values."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from prefect_ml.entities import EndpointReplica, ReplicaState, RouteReport
from prefect_ml.registry.traffic import (
    add_predictions,
    bucket_of_seconds,
    chi_square,
    drift,
    quantile_of_seconds,
    traffic_of,
)


@pytest.fixture
def random():
    return np.random.default_rng(7)


def counted(predictions):
    counts = {}
    add_predictions(counts, list(predictions))
    return counts


def index_of(usual, other):
    """The population stability index over tenths, from the values themselves."""
    edges = np.quantile(usual, np.linspace(0, 1, 11)[1:-1])
    p, q = (np.bincount(np.searchsorted(edges, each), minlength=10) + 0.5 for each in (usual, other))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


@given(st.lists(st.floats(1e-5, 100), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_exact_to_the_width_of_a_bucket(times, share):
    counts = Counter(map(bucket_of_seconds, times))
    exact = float(np.quantile(times, share, method="inverted_cdf"))
    assert quantile_of_seconds(counts, share) == pytest.approx(exact, rel=0.03)


def test_what_replicas_counted_is_added_up_for_one_revision():
    def replica(name, loaded, **seen):
        report = RouteReport("models:/m/1", "m", 1, **seen)
        return EndpointReplica("e", name, "h", "", ReplicaState.READY, 2, loaded, routes=(report,))

    found = [
        replica("a", 2, requests=10, errors=1, seconds={"3": 9}, predictions={"t:x": 4}, compared=3, differing=2),
        replica("b", 2, requests=5, errors=2, seconds={"3": 1, "4": 2}, predictions={"t:y": 4}),
        replica("c", 1, requests=100, errors=100),
    ]
    traffic = traffic_of(found, ["models:/m/1"], 2)
    assert (traffic.requests, traffic.errors, traffic.error_rate) == (15, 3, 0.2)
    assert (traffic.seconds, traffic.predictions) == ({"3": 10, "4": 2}, {"t:x": 4, "t:y": 4})
    assert (traffic.compared, traffic.differing) == (3, 2)
    nothing = traffic_of(found, ["models:/m/9"], 2)
    assert (nothing.requests, nothing.error_rate, nothing.p95) == (0, 0.0, None)


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_the_distance_of_numbers_is_that_of_the_values_themselves(shift, random):
    usual, other = random.normal(0, 5, 4000), random.normal(shift * 5, 5, 3000)
    found = drift(counted(usual), counted(other))
    assert found.index == pytest.approx(index_of(usual, other), abs=0.02)
    assert found.predictions == 3000
    assert (found.index > found.noise) is bool(shift)


def test_chance_alone_stays_below_the_noise(random):
    found = [drift(counted(random.normal(size=200)), counted(random.normal(size=200))) for _ in range(100)]
    assert sum(each.index > each.noise for each in found) <= 2
    # which a fixed bound of 0.1, as is often taken, would not have told from drift
    assert sum(each.index > 0.1 for each in found) > 5


def test_the_noise_is_of_a_chi_square():
    for degrees in (1, 2, 9, 100):
        assert chi_square(degrees) == pytest.approx(chi2.ppf(0.999, degrees), rel=0.04)


def test_labels_and_probabilities_are_compared_by_what_they_say():
    same = drift(counted(["yes"] * 50 + ["no"] * 50), counted(["yes"] * 52 + ["no"] * 48))
    assert same.index < 0.01
    other = drift(counted(["yes"] * 90 + ["no"] * 10), counted(["yes"] * 10 + ["no"] * 90))
    assert other.index > 3 * other.noise
    new = drift(counted(["yes"] * 100), counted(["perhaps"] * 100))
    assert new.index > new.noise
    rows = counted([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3]])
    assert rows == {"t:[1]": 1, "t:[0]": 2}
    assert counted([[3.0]]) == counted([3]) == counted([{"y": 3.0, "z": 1}])
    assert counted([float("nan"), 0.0, -1e-30, True, None]) == {"nan": 1, "z": 2, "t:True": 1, "t:None": 1}
    assert drift({}, {"z": 1}) is None
    assert drift({"z": 5}, {"z": 9}).index == 0


def test_many_texts_take_bounded_room(random):
    counts = counted([f"{'x' * 300}{n}" for n in range(10)] + [f"text {n}" for n in range(1000)])
    assert len(counts) <= 101
    assert counts["other"] > 800
    assert sum(counts.values()) == 1010
    # what 20 routes report fits into what the store keeps
    long = counted([f"{n}{'ä' * 300}" for n in range(500)])
    assert 20 * len(json.dumps(long)) < 1_000_000
    wide = counted(random.normal(size=20000) * 10.0 ** random.integers(-300, 300, 20000))
    assert len(wide) <= 2001
    assert sum(wide.values()) == 20000
