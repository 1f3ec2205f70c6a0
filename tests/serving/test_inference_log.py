"""What was asked and answered, kept as files that appear whole or never."""

from __future__ import annotations

import datetime as dt
import io
import threading
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client import CollectorRegistry

from prefect_ml.artifacts.local import LocalArtifactStore
from prefect_ml.drift.reference import read_window
from prefect_ml.errors import ArtifactError
from prefect_ml.models.folder import save_model
from prefect_ml.registry.resolve import ResolvedModel
from prefect_ml.serving.columnar_bodies import FILE, PARQUET, STREAM
from prefect_ml.serving.decoding import Decoder
from prefect_ml.serving.inference_files import read_log
from prefect_ml.serving.inference_log import InferenceLog
from prefect_ml.serving.inference_rows import rows_of
from prefect_ml.serving.observing import Answered
from prefect_ml.serving.replica import load_replica
from prefect_ml.settings import Settings

ASKED = b'{"dataframe_split": {"columns": ["age", "income"], "data": [[30, 1], [40, 2]]}}'


def files_of(folder):
    return [path for path in sorted(folder.rglob("*.parquet")) if ".prefect-ml" not in path.parts]


def logged(folder):
    return [pq.read_table(path) for path in files_of(folder)]


@pytest.fixture(scope="module")
def replica(model_folder):
    return load_replica(ResolvedModel("models:/income/3", str(model_folder), name="income", version=3), Settings())


@pytest.fixture
def request_of(replica):
    """Makes what observers are told of a request that the real model answered."""

    def make(body=ASKED, *, replica=replica, **changed):
        answer = replica.answer("application/json", body)
        made = Answered(
            name="income", replica=replica, headers={}, content_type="application/json", body=body, accept="",
            answer=answer, status=200, seconds=0.002, at=time.time_ns() // 1_000_000, request_id="r1", rows=0,
            error=None,
        )  # fmt: skip
        return replace(made, **changed)

    return make


def number(registry, reason):
    return registry.get_sample_value("prefect_ml_inference_log_dropped_total", {"reason": reason})


def test_a_served_model_keeps_what_was_asked_when_it_is_told_to_stop(model_folder, serving_process, tmp_path):
    folder = tmp_path / "log"
    settings = {"PREFECT_ML_INFERENCE_LOG": str(folder), "PREFECT_ML_INFERENCE_LOG_LEAVE_OUT": "income"}
    with serving_process(f"income={model_folder}", **settings) as client:
        json = {"Content-Type": "application/json"}
        answers = [
            client.post("/invocations", content=ASKED, headers=json),
            client.post("/invocations", content=b"age,income\n50,4\n", headers={"Content-Type": "text/csv"}),
        ]
        sink = io.BytesIO()
        pq.write_table(pa.table({"age": [60.0], "income": [5.0]}), sink)
        for media in (STREAM, FILE, PARQUET):
            headers = {"Content-Type": PARQUET, "Accept": media}
            client.post("/invocations", content=sink.getvalue(), headers=headers).raise_for_status()
        tensors = [
            {"name": name, "datatype": "FP64", "shape": [1], "data": [value]}
            for name, value in (("age", 70.0), ("income", 6.0))
        ]
        for parameters in ({}, {"parameters": {"binary_data_output": True}}):
            client.post("/v2/models/income/infer", json={"inputs": tensors, **parameters}).raise_for_status()
        assert client.post("/invocations", content=b'{"inputs": []', headers=json).status_code == 400
        assert 'prefect_ml_inference_log_dropped_total{reason="full"} 0.0' in client.get("/metrics").text
        assert not logged(folder)
    [table] = logged(folder)
    assert table.column_names == ["_at", "_request_id", "_row", "_seconds", "input.age", "output.prediction"]
    assert table.column("input.age").to_pylist() == [30.0, 40.0, 50.0, 60.0, 60.0, 60.0, 70.0, 70.0]
    predicted = [value for answer in answers for value in answer.json()["predictions"]]
    assert table.column("output.prediction").to_pylist() == pytest.approx([*predicted, 70.0, 70.0, 70.0, 82.0, 82.0])
    assert table.column("_row").to_pylist() == [0, 1, 0, 0, 0, 0, 0, 0]
    ids = table.column("_request_id").to_pylist()
    assert ids[:3] == [answers[0].headers["X-Request-ID"]] * 2 + [answers[1].headers["X-Request-ID"]]
    assert len(set(ids)) == 7
    assert table.schema.metadata[b"prefect_ml.model"] == b"income"
    assert [path.relative_to(folder).parts[:2] for path in files_of(folder)] == [("income", "0")]


def test_files_are_written_when_they_are_full_or_old_and_found_by_time(request_of, tmp_path):
    root = LocalArtifactStore(tmp_path)
    log = InferenceLog(root, rows=4, seconds=3600)
    begun = dt.datetime.now(dt.UTC)
    for count in range(3):
        log.answered(request_of(request_id=f"r{count}"))
    deadline = time.monotonic() + 30
    while not logged(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [table.num_rows for table in logged(tmp_path)] == [4]
    log.close()
    assert sorted(table.num_rows for table in logged(tmp_path)) == [2, 4]
    later = begun + dt.timedelta(hours=1)
    found = list(read_log(root, "income", "3", begun - dt.timedelta(seconds=1), later))
    assert sum(table.num_rows for table in found) == 6
    assert not list(read_log(root, "income", "3", later, later + dt.timedelta(days=1)))
    assert not list(read_log(root, "income", "4", begun - dt.timedelta(seconds=1), later))

    old = InferenceLog(root, rows=1000, seconds=0.05)
    old.answered(request_of())
    deadline = time.monotonic() + 30
    while len(logged(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(logged(tmp_path)) == 3
    old.close()


def test_a_share_is_kept_and_failures_are_not(request_of, tmp_path):
    log = InferenceLog(LocalArtifactStore(tmp_path), sample=0.3)
    made = request_of()
    for _ in range(900):
        log.answered(replace(made, status=400, error=ValueError("no")))
    for _ in range(900):
        log.answered(made)
    log.close()
    [table] = logged(tmp_path)
    assert 2 * 900 * 0.15 < table.num_rows < 2 * 900 * 0.45


class Slow(LocalArtifactStore):
    """A place that is away until it is told otherwise."""

    back = threading.Event()

    def put(self, name, source):
        assert self.back.wait(60)
        return super().put(name, source)


def test_a_place_that_hangs_neither_blocks_nor_fails_a_request(request_of, tmp_path):
    registry = CollectorRegistry()
    Slow.back.clear()
    log = InferenceLog(Slow(tmp_path), rows=500)
    log.count_in(registry)
    made = request_of()
    for _ in range(1500):
        log.answered(made)
    dropped = number(registry, "full")
    assert dropped >= 200
    Slow.back.set()
    log.close()
    assert registry.get_sample_value("prefect_ml_inference_log_rows_total") == 2 * (1500 - dropped)
    assert sum(table.num_rows for table in logged(tmp_path)) == 2 * (1500 - dropped)


def test_few_large_requests_that_wait_are_bounded_like_many_small_ones(request_of, tmp_path):
    registry = CollectorRegistry()
    Slow.back.clear()
    log = InferenceLog(Slow(tmp_path), rows=1)
    log.count_in(registry)
    made = request_of()
    log.answered(made)  # the file of which is written for as long as the place hangs
    for _ in range(40):
        log.answered(replace(made, body=made.body + b" " * (8 << 20)))
    assert number(registry, "full") >= 32
    Slow.back.set()
    log.close()
    assert number(registry, "full") + sum(table.num_rows for table in logged(tmp_path)) / 2 == 41


def test_a_place_that_refuses_is_tried_again_and_what_is_lost_is_counted(request_of, tmp_path):
    registry = CollectorRegistry()
    (tmp_path / "income").write_text("a file where the folder should be")
    log = InferenceLog(LocalArtifactStore(tmp_path), rows=2, seconds=0.05)
    log.count_in(registry)
    made = request_of()
    for _ in range(100):
        log.answered(made)
    log.answered(replace(made, answer=b"no JSON"))
    deadline = time.monotonic() + 30
    while not number(registry, "unread") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert number(registry, "unread") == 1
    (tmp_path / "income").unlink()
    log.close()
    # Ten files' worth of rows are held meanwhile.
    assert sum(table.num_rows for table in logged(tmp_path)) == 20
    assert number(registry, "unwritten") == 90


def test_answers_of_another_kind_are_kept_too_and_end_nothing(request_of, tmp_path):
    log = InferenceLog(LocalArtifactStore(tmp_path), seconds=0.05)
    # A model may answer with classes once and with numbers the next time; no file holds both in one column.
    for answer in (b'{"predictions": ["a", "b"]}', b'{"predictions": [[1, 2], [3, 4]]}', b'{"predictions": [0.5, 1]}'):
        log.answered(request_of(answer=answer))
        log.answered(request_of(answer=answer))
    deadline = time.monotonic() + 30
    while sum(table.num_rows for table in logged(tmp_path)) < 12 and time.monotonic() < deadline:
        time.sleep(0.02)
    log.answered(request_of())
    log.close()
    tables = logged(tmp_path)
    assert sum(table.num_rows for table in tables) == 14
    found = [value for table in tables if "output.prediction" in table.column_names
             for value in table.column("output.prediction").to_pylist()]  # fmt: skip
    assert found.count("a") == 2
    assert found.count(0.5) >= 2
    start, end = (dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes) for minutes in (-10, 10))
    window = read_window(LocalArtifactStore(tmp_path), "income", 3, start, end)
    assert window.num_rows == 14
    # What has no type in common is compared as text.
    assert window.column("output.prediction").type == pa.string()


def test_what_is_no_table_in_the_log_is_said_with_its_place(tmp_path):
    now = dt.datetime.now(dt.UTC)
    files = LocalArtifactStore(tmp_path)
    name = f"income/3/{now:%Y-%m-%d}/120000-x.parquet"
    files.put(name, io.BytesIO(b"PAR1 but no more"))
    with pytest.raises(ArtifactError, match=name):
        read_window(files, "income", 3, now - dt.timedelta(hours=1), now)


def test_arrays_and_messages_are_kept_too(request_of, tmp_path):
    from sklearn.linear_model import LinearRegression

    x = np.arange(8.0).reshape(4, 2)
    save_model(LinearRegression().fit(x, np.c_[x.sum(axis=1), x[:, 0]]), tmp_path / "arrays", input_example=x[:2])
    arrays = load_replica(ResolvedModel("arrays", str(tmp_path / "arrays")), Settings())
    table = rows_of(request_of(b'{"instances": [[1, 2], [3, 4]]}', replica=arrays))
    assert table.column("input.1").to_pylist() == [2.0, 4.0]
    assert table.column("output.prediction_1").to_pylist() == pytest.approx([1.0, 3.0])


def test_what_is_left_out_is_left_out_of_texts_as_well(replica, request_of):
    class Chat:
        signature = None

        def predict(self, data, _):
            return {"said": data["messages"][0]["content"], "secret": "s3"}

    chat = replace(replica, model=Chat(), decoder=Decoder(None))
    body = b'{"messages": [{"role": "user", "content": "hello", "secret": "s1"}], "secret": "s2"}'
    table = rows_of(request_of(body, replica=chat), {"secret"})
    [row] = table.to_pylist()
    assert row["input"] == '{"messages":[{"role":"user","content":"hello"}]}'
    assert row["output"] == '{"said":"hello"}'
