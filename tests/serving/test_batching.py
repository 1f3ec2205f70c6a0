"""Requests that are predicted together: each gets its own rows' answer, and only its own errors."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from sklearn.linear_model import LinearRegression

from prefect_ml.http.lanes import Lane
from prefect_ml.http.refusal import RefusedError
from prefect_ml.models.folder import save_model
from prefect_ml.registry.resolve import ResolvedModel
from prefect_ml.serving.batching import Batcher, predict_together
from prefect_ml.serving.decoding import Request
from prefect_ml.serving.failure import ModelFailedError
from prefect_ml.serving.metrics import ModelMetrics
from prefect_ml.serving.replica import load_replica
from prefect_ml.settings import Settings

TABLE = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3, 1, 2]})


def doubled(data):
    """Twice the numbers; fails on negative ones, and answers once for all when there are more than 50 rows."""
    if (data < 0).any():
        raise ValueError("negative")
    return data * 2 if len(data) <= 50 else data[:1]


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_model(LinearRegression().fit(TABLE, TABLE["a"]), folder / "table", input_example=TABLE)
    save_model(doubled, folder / "doubled", input_example=np.array([1.0, 2.0]), allow_pickle=True)
    trusting = Settings(trusted_origins=(str(folder / "*"),))
    return {
        name: load_replica(ResolvedModel(uri=str(folder / name), source=str(folder / name)), trusting)
        for name in ("table", "doubled")
    }


def together(requests, *, rows=16, wait=0.01, waiting=1000, threads=2):
    """What comes of requests (replica, data) that come at once, and how many batches there were."""

    async def ask():
        registry = CollectorRegistry()
        sizes = ModelMetrics(registry).batches("m")
        lane = Lane("test", threads, 1000)
        batcher = Batcher(lane, rows=rows, wait=wait, waiting=waiting, sizes=sizes)
        tasks = [batcher.predict(replica, replica.fit(Request(data))) for replica, data in requests]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        lane.close()
        counted = registry.get_sample_value("prefect_ml_model_batch_requests_count", {"model": "m"})
        return found, counted, batcher

    return asyncio.run(ask())


NUMBERS = st.lists(st.floats(-1, 100).filter(lambda x: x >= 0 or x < -0.5), min_size=1, max_size=30)


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.sampled_from([1, 4, 16, 1000]), st.sampled_from([1e-4, 0.01]))
@settings(max_examples=60, deadline=None)
def test_each_gets_its_own_rows_or_its_own_error(replicas, requests, rows, wait):
    asked = [(replicas["doubled"], np.array(numbers)) for numbers in requests]
    found, batches, batcher = together(asked, rows=rows, wait=wait)
    for numbers, answer in zip(requests, found, strict=True):
        if min(numbers) < 0:
            assert isinstance(answer, ModelFailedError)
        else:
            assert answer.tolist() == [2 * number for number in numbers]
    assert 1 <= batches <= len(requests)
    assert not batcher._groups


@given(
    st.lists(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 9)), min_size=1, max_size=5), min_size=2, max_size=9)
)
@settings(max_examples=40, deadline=None)
def test_tables_lie_below_each_other_and_kinds_do_not_mix(replicas, requests):
    tables = [(replicas["table"], pd.DataFrame(rows, columns=["a", "b"])) for rows in requests]
    found, *_ = together([*tables, (replicas["doubled"], np.array([1.0]))])
    for rows, answer in zip(requests, found[:-1], strict=True):
        assert answer == pytest.approx([a for a, _ in rows], abs=1e-9)
    assert found[-1].tolist() == [2.0]


def test_what_comes_alone_is_predicted_at_once_and_what_comes_meanwhile_together(replicas):
    _, batches, _ = together([(replicas["doubled"], np.array([1.0]))] * 30, rows=50, wait=30.0)
    assert batches == 2
    _, batches, _ = together([(replicas["doubled"], np.array([1.0]))] * 31, rows=10, wait=30.0)
    assert batches == 4


def test_an_answer_that_is_not_by_row_is_asked_for_one_at_a_time(replicas):
    datas = [np.arange(40.0), np.arange(30.0)]
    found = predict_together(replicas["doubled"], datas)
    assert [len(answer) for answer in found] == [40, 30]


def test_more_than_may_wait_are_refused(replicas):
    found, *_ = together([(replicas["doubled"], np.array([1.0]))] * 8, rows=100, waiting=3)
    assert sum(isinstance(answer, RefusedError) for answer in found) == 4
    assert {answer.status for answer in found if isinstance(answer, RefusedError)} == {503}


def test_a_server_gathers_requests_and_tells_how_many(tmp_path, serving_process):
    save_model(LinearRegression().fit(TABLE, TABLE["a"]), tmp_path / "m", input_example=TABLE)
    home = str(tmp_path / "home")
    with serving_process(str(tmp_path / "m"), "--batch-rows", "64", PREFECT_ML_HOME=home) as client:
        barrier = threading.Barrier(8)

        def ask(number):
            barrier.wait(30)
            for _ in range(10):
                answer = client.post("/invocations", json={"dataframe_records": [{"a": float(number), "b": 1}]})
                assert json.loads(answer.content)["predictions"] == [pytest.approx(number, abs=1e-9)]
            wrong = client.post("/invocations", json={"dataframe_records": [{"a": "text", "b": 1}]})
            assert wrong.status_code == 400

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
        families = text_string_to_metric_families(client.get("/metrics").text)
        counted = {s.name: s.value for f in families for s in f.samples if "batch" in f.name and "bucket" not in s.name}
    assert counted["prefect_ml_model_batch_requests_sum"] == 80
    assert counted["prefect_ml_model_batch_requests_count"] <= 80
