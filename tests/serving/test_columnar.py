"""Arrow and Parquet in requests and answers."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.errors import InvalidInputError
from prefect_ml.serving.columnar_bodies import FILE, PARQUET, STREAM, read_table, write_predictions

ROWS = pa.table({"age": [30.0, 40.0], "income": [1.0, 2.0]})


def written(table, media_type, **options):
    sink = io.BytesIO()
    if media_type == PARQUET:
        pq.write_table(table, sink, **options)
    else:
        new = pa.ipc.new_stream if media_type == STREAM else pa.ipc.new_file
        with new(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(table)
    return sink.getvalue()


def read(body, media_type):
    if media_type == PARQUET:
        return pq.read_table(io.BytesIO(body))
    opened = pa.ipc.open_stream if media_type == STREAM else pa.ipc.open_file
    with opened(io.BytesIO(body)) as reader:
        return reader.read_all()


@pytest.mark.parametrize("media_type", [STREAM, FILE, PARQUET])
@pytest.mark.parametrize(
    "table",
    [ROWS, ROWS.select(["income", "age"]), ROWS.cast(pa.schema({"age": pa.int32(), "income": pa.float32()}))],
    ids=["as it is", "reordered", "other types"],
)
def test_a_table_is_predicted_and_answered(client, media_type, table):
    body = written(table, media_type)
    answer = client.post("/invocations", content=body, headers={"content-type": media_type})
    assert answer.json() == {"predictions": [pytest.approx(32), pytest.approx(44)]}
    headers = {"content-type": media_type, "accept": f"{media_type}, application/json"}
    answer = client.post("/invocations", content=body, headers=headers)
    assert answer.headers["content-type"] == media_type
    assert read(answer.content, media_type).to_pydict() == {"prediction": [pytest.approx(32), pytest.approx(44)]}


@pytest.mark.parametrize("media_type", [STREAM, FILE, PARQUET])
@pytest.mark.parametrize("predictions", [[2**70], ["\ud800"], [object()], [1, "a"]])
def test_what_no_column_can_hold_is_said(predictions, media_type):
    with pytest.raises(InvalidInputError, match="cannot be kept in columns"):
        write_predictions(predictions, len(predictions), media_type)


def test_json_is_answered_to_who_prefers_it(client):
    headers = {"content-type": STREAM, "accept": f"application/json, {STREAM}"}
    assert client.post("/invocations", content=written(ROWS, STREAM), headers=headers).json()["predictions"]


def test_what_breaks_the_signature_is_named(client):
    body = written(ROWS.set_column(0, "age", pa.array(["old", "young"])), STREAM)
    answer = client.post("/invocations", content=body, headers={"content-type": STREAM})
    assert answer.status_code == 400
    assert "'age'" in answer.json()["message"]


def test_an_array_is_made_of_a_table_for_a_model_that_takes_one(array_client):
    answer = array_client.post("/invocations", content=written(ROWS, FILE), headers={"content-type": FILE})
    assert answer.json() == {"predictions": [pytest.approx(32), pytest.approx(44)]}


NULLS = pa.RecordBatch.from_arrays([pa.nulls(1 << 25)], ["nothing"])


@pytest.mark.parametrize(
    ("media_type", "body", "message"),
    [
        (STREAM, written(ROWS, STREAM, compression="zstd"), "without compression"),
        (FILE, written(ROWS, FILE, compression="lz4"), "without compression"),
        (STREAM, written(pa.Table.from_batches([NULLS]), STREAM), "cells"),
        (PARQUET, written(pa.table({"x": pa.nulls(1 << 25, pa.int8())}), PARQUET), "cells"),
        (STREAM, written(pa.table({"x": pa.array([[None] * 3])}), STREAM), "send values"),
        (STREAM, written(ROWS, STREAM).replace(b"income", b"inc\xffme"), "no table"),
        (STREAM, b"", "no table"),
        (FILE, b"ARROW1\0\0", "no table"),
        (FILE, b"PAR1", "begins with"),
        (PARQUET, b"PAR1", "no table"),
    ],
)
def test_what_could_become_larger_than_memory_or_is_no_table_is_refused(media_type, body, message):
    assert len(body) < 1 << 20
    with pytest.raises(InvalidInputError, match=message):
        read_table(media_type, body)


TEXTS = pa.table({"text": ["a", None, "b"], "number": [1, 2, 3], "kind": pa.array(["x", "y", "x"]).dictionary_encode()})
BODIES = {media_type: written(TEXTS, media_type) for media_type in (STREAM, FILE, PARQUET)}


@given(st.sampled_from(sorted(BODIES)), st.integers(0, 10_000), st.binary(min_size=1, max_size=4), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_damaged_table_is_refused_or_read_and_nothing_else(media_type, at, damage, cut):
    body = BODIES[media_type]
    at %= len(body)
    body = body[:at] if cut else body[:at] + damage + body[at + len(damage) :]
    try:
        table = read_table(media_type, body)
    except InvalidInputError:
        return
    assert table.num_rows * table.num_columns <= 1 << 24
