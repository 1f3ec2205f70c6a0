"""When a rollout may go on: which bounds a version breaks, and what is missing of its replicas."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.entities import EndpointReplica, ReplicaState, Route
from prefect_ml.registry.endpoints import answers_alone, routes_alone, routes_with
from prefect_ml.registry.rollouts import Bounds, broken, failed, waits_for
from prefect_ml.registry.traffic import Traffic, add_predictions, bucket_of_seconds


def seen(requests, errors=0, seconds=0.01, predictions=()):
    counts = {}
    add_predictions(counts, list(predictions))
    return Traffic(requests, errors, {bucket_of_seconds(seconds): requests - errors}, counts, 0, 0)


def test_more_failures_than_the_others_have_break_the_bound_unless_chance_explains_them():
    usual = seen(1000, errors=20)
    assert broken(seen(100, errors=3), usual, Bounds()) == []
    assert broken(seen(1000, errors=35), usual, Bounds()) == []
    assert broken(seen(49, errors=49), usual, Bounds()) == []  # too few to be judged
    assert broken(seen(50, errors=50), usual, Bounds()) == ["100.0% of its requests failed, and 2.0% of the others'"]
    assert broken(seen(1000, errors=60), usual, Bounds())
    assert broken(seen(100_000, errors=3300), usual, Bounds())
    assert broken(seen(100_000, errors=3100), usual, Bounds()) == []
    # where the others answer nothing, as with all of the weight, it is judged by itself
    assert broken(seen(1000, errors=60), seen(0), Bounds())


def test_latency_is_a_ratio():
    words = broken(seen(100, seconds=0.05), seen(100, seconds=0.01), Bounds(latency_ratio=3))
    assert len(words) == 1
    assert "times the others' 0.0099 s" in words[0]
    assert broken(seen(100, seconds=0.05), seen(100, seconds=0.01), Bounds(latency_ratio=None)) == []
    assert broken(seen(100, seconds=0.05), seen(10, seconds=0.01), Bounds(latency_ratio=3)) == []
    assert broken(seen(100, seconds=0.02), seen(100, seconds=0.01), Bounds(latency_ratio=3)) == []
    assert broken(seen(100, seconds=0.003), seen(100, seconds=0.0005), Bounds(latency_ratio=3)) == []  # nobody feels it
    # a few late ones among many are chance, more are not
    for late, expected in ((6, 0), (20, 1)):
        times = {bucket_of_seconds(0.01): 100 - late, bucket_of_seconds(0.1): late}
        found = broken(dataclasses.replace(seen(100), seconds=times), seen(100), Bounds(latency_ratio=3))
        assert len(found) == expected


def test_predictions_that_drift_break_the_bound():
    random = np.random.default_rng(3)
    usual = seen(500, predictions=random.normal(10, 2, 500))
    far = seen(500, predictions=random.normal(14, 2, 500))
    assert "population stability index" in broken(far, usual, Bounds())[0]
    assert broken(far, usual, Bounds(drift=None)) == []
    assert broken(seen(500, predictions=random.normal(10, 2, 500)), usual, Bounds(drift=0.01)) == []


def replica(name="a", state=ReplicaState.READY, **more):
    return EndpointReplica("e", name, "h", "http://h", state, **({"wanted": 3, "loaded": 3} | more))


def test_all_that_are_alive_must_have_loaded():
    loading = replica("b", ReplicaState.LOADING, loaded=2)
    dead = dataclasses.replace(loading, silent=31.0)
    assert waits_for([replica()], 3, 1) == ""
    assert waits_for([replica(), dead], 3, 1) == ""
    assert waits_for([replica(wanted=4, loaded=4)], 3, 1) == ""
    assert waits_for([], 3, 0) == ""
    assert "0 of 0 replicas" in waits_for([], 3, 1)
    assert "1 of 2 replicas answer by revision 3" in waits_for([replica(), loading], 3, 1)
    assert waits_for([replica()], 3, 2)


def test_a_replica_that_cannot_load_is_named():
    bad = replica("b", ReplicaState.FAILED, loaded=2, error="no such file")
    assert failed([replica(), bad], 3) == "the replica b at http://h cannot load it: no such file"
    assert failed([replica(), dataclasses.replace(bad, silent=31.0)], 3) == ""
    assert failed([replica(), dataclasses.replace(bad, wanted=2, loaded=1)], 3) == ""  # not come to it yet
    assert failed([replica(state=ReplicaState.FAILED)], 3) == ""  # it answers by it, and fails at an alias' move


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6), st.floats(0, 100), st.integers(1, 8))
def test_the_weights_of_a_step_make_a_hundred(weights, weight, version):
    total = sum(weights)
    base = [Route("m", n, weight=100 * w / total if total else 0) for n, w in enumerate(weights, 1)]
    routes = routes_with([*base, Route("m", 9, shadow=True)], Route("m", version), weight)
    assert sum(route.weight for route in routes) == pytest.approx(100)
    assert len({route.uri for route in routes}) == len(routes)
    assert next(route for route in routes if route.version == 9).shadow
    alone = routes_alone(routes, Route("m", version))
    assert answers_alone(alone, Route("m", version))
    assert {route.version for route in alone} == {version, 9}
