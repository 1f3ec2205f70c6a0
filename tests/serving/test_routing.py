"""How requests are shared out over routes, what is counted of them, and when two answers are the same."""

from __future__ import annotations

import json
import threading
import time
import tracemalloc
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from prefect_ml.entities import Endpoint, EndpointAction, Route
from prefect_ml.http.refusal import RefusedError
from prefect_ml.registry.resolve import ResolvedModel
from prefect_ml.serving.columnar_bodies import MEDIA_TYPES, STREAM, write_predictions
from prefect_ml.serving.kserve import MEDIA_TYPE
from prefect_ml.serving.observing import Answered
from prefect_ml.serving.predicted import predictions_of, values_of
from prefect_ml.serving.replica import load_replica
from prefect_ml.serving.routing import KEY_HEADER, Loaded, Routes
from prefect_ml.serving.shadow import Shadows, same_predictions
from prefect_ml.serving.tally import Tally
from prefect_ml.settings import Settings


@pytest.fixture(scope="module")
def routes_of(model_folder):
    """Makes routes to versions 1, 2, ... of one model, with these weights, and the last one a shadow if wanted."""
    there = load_replica(ResolvedModel(str(model_folder), str(model_folder)), Settings())

    def make(*weights, shadow=False):
        return _routes(there, weights, shadow=shadow)

    return make


def _routes(there, weights, *, shadow):
    routes = [Route("m", n, weight=w) for n, w in enumerate(weights, 1)]
    if shadow:
        routes.append(Route("m", len(routes) + 1, shadow=True))
    endpoint = Endpoint("live", 1, routes, EndpointAction.CREATED, 0, "", "")
    loaded = [Loaded.of(r, there.again_as(ResolvedModel(r.uri, "", "m", r.version))) for r in routes]
    return Routes(endpoint, loaded)


def test_requests_without_a_key_are_shared_out_by_weight(routes_of):
    routes = routes_of(70, 25, 5, 0, shadow=True)
    drawn = Counter(routes.pick({}, None).version for _ in range(20_000))
    assert set(drawn) == {"1", "2", "3"}
    for version, weight in (("1", 70), ("2", 25), ("3", 5)):
        assert drawn[version] / 200 == pytest.approx(weight, abs=1.5)
    assert routes_of(0, 100).pick({}, None).version == "2"


def test_a_key_stays_with_its_version_and_moves_only_to_one_that_grows(routes_of):
    def owners(*weights):
        routes = routes_of(*weights)
        return {n: routes.pick({KEY_HEADER: b"user-%d" % n}, None).version for n in range(4000)}

    first, again = owners(90, 10), owners(90, 10)
    assert first == again
    assert sum(v == "2" for v in first.values()) == pytest.approx(400, abs=70)
    grown = owners(60, 40)
    assert all(grown[n] == "2" for n, owner in first.items() if owner == "2")
    assert sum(v == "2" for v in grown.values()) == pytest.approx(1600, abs=120)
    # a third version takes from both, and moves nobody between them
    third = owners(54, 36, 10)
    assert all(third[n] in (owner, "3") for n, owner in grown.items())


def test_a_version_can_be_asked_for_that_has_no_weight_but_no_shadow(routes_of):
    routes = routes_of(100, 0, shadow=True)
    assert routes.pick({}, "2").version == "2"
    for version in ("3", "9", ""):
        with pytest.raises(RefusedError, match="not loaded here; there is: 1, 2"):
            routes.pick({}, version)


def test_what_is_counted_of_a_route():
    tally = Tally("models:/m@a", "m", 3, 7)
    for _ in range(3):
        tally.count(0.01, json.dumps({"predictions": [1.0, 1.0, 4.0]}).encode())
    tally.count(0.2, b"no json")
    tally.count(5.0, None)
    report = tally.report()
    assert (report.uri, report.name, report.version, report.generation) == ("models:/m@a", "m", 3, 7)
    assert (report.requests, report.errors) == (5, 1)
    assert sorted(report.seconds.values()) == [1, 3]
    assert sorted(report.predictions.values()) == [3, 6]
    assert tally.report() == report  # nothing is counted twice


def test_predictions_are_found_in_every_shape_of_an_answer():
    assert predictions_of(b'{"predictions": [1, 2]}') == [1, 2]
    assert predictions_of(b"[1, 2]") == [1, 2]
    assert predictions_of(b'{"predictions": {"y": [1, 2]}}') == [1, 2]
    for nothing in (b"", b"x", b"3", b'{"predictions": 3}', b'{"error": [1]}', b'{"predictions": {}}'):
        assert predictions_of(nothing) == []
    tensor = {"name": "predictions", "datatype": "FP32", "shape": [3, 1], "data": [1.5, None, 2]}
    kserve = json.dumps({"model_name": "m", "outputs": [tensor]}).encode()
    assert predictions_of(kserve, MEDIA_TYPE, 2) == [[1.5], [None]]  # NaN is sent as null
    assert values_of(kserve, MEDIA_TYPE) == {"predictions": [[1.5], [None], [2.0]]}
    for predictions, rows in (
        (np.array([1.0, np.nan]), [1.0, None]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
    ):
        for media_type in MEDIA_TYPES:
            assert predictions_of(write_predictions(predictions, 2, media_type), media_type) == rows


def kept_after(call, count):
    """Bytes that are still there of those that so many calls made."""
    tracemalloc.start()
    for _ in range(count):
        call()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept


def test_answers_that_wait_to_be_looked_at_have_a_bound_in_bytes():
    tally = Tally("models:/m/3", "m", 3, 0)
    assert kept_after(lambda: tally.count(0.01, bytes(900_000)), 60) < 20 << 20
    assert tally.report().requests == 60
    # after a report there is room again
    tally.count(0.01, b'{"predictions": ["news"]}')
    assert "t:news" in tally.report().predictions


def test_copies_that_wait_for_a_shadow_have_a_bound_in_bytes(routes_of):
    routes, go_on = routes_of(100, shadow=True), threading.Event()

    def current():
        if threading.current_thread().name == "prefect-ml-shadow":
            go_on.wait(60)  # as one that takes long to predict
        return routes

    def asked(size):
        return Answered(
            name="live", replica=routes.loaded[0].replica, headers={}, content_type="application/json",
            body=bytes(size), accept="", answer=b"{}", status=200, seconds=0.01, at=0, request_id="r", rows=1,
            error=None,
        )  # fmt: skip

    shadows = Shadows(current)
    assert kept_after(lambda: shadows.answered(asked(8 << 20)), 20) < 80 << 20
    go_on.set()
    deadline = time.monotonic() + 30
    # what waited is sent, and there is room again
    while not routes.shadows[0].tally.compared and time.monotonic() < deadline:
        time.sleep(0.01)
    shadows.close()
    assert 1 <= routes.shadows[0].tally.compared <= 8


def test_an_answer_that_cannot_be_read_is_counted_without_its_predictions():
    tally = Tally("models:/m/3", "m", 3, 0)
    tally.count(0.01, b"no table", STREAM)
    tally.count(0.01, b'{"predictions": [1.0]}')
    report = tally.report()
    assert (report.requests, list(report.predictions.values())) == (2, [1])


def test_answers_are_the_same_to_six_digits():
    def same(one, other):
        return same_predictions(json.dumps({"predictions": one}).encode(), json.dumps({"predictions": other}).encode())

    # what a language model answers has no key of its own
    assert not same_predictions(b'{"text": "a"}', b'{"text": "b"}')
    assert same([0.1 + 0.2, 1e12], [0.3, 1e12 + 1])
    assert same([[1.0, 0.0]], [[1, 1e-12]])
    assert same([{"a": "x", "b": 1.0}], [{"b": 1.0000001, "a": "x"}])
    for one, other in (([1.0], [1.001]), ([1.0], [1.0, 1.0]), (["a"], ["b"]), ([{"a": 1}], [{"b": 1}]), ([1], [None])):
        assert not same(one, other)


def test_counts_belong_to_the_routes_of_their_revision(routes_of):
    routes, other = routes_of(50, 50), routes_of(50, 50)
    replica = routes.pick({}, "1")
    assert routes.tally(replica) is routes.loaded[0].tally
    assert other.tally(replica) is None
    assert routes.tally(SimpleNamespace()) is None
