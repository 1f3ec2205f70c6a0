"""What was answered, as columns of predictions, whichever form it was sent in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.prediction_columns import prediction_columns
from prefect_ml.serving import kserve
from prefect_ml.serving.columnar_bodies import MEDIA_TYPES, PARQUET, STREAM
from prefect_ml.serving.kserve_tensors import read_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from prefect_ml.serving.observing import Answered

PREDICTION = "prediction"


def answer_columns(request: Answered, rows: int) -> Mapping[str, pa.Array]:
    """Predictions by name, `rows` of each; an answer that has not one for each row stands whole in each, as JSON.

    Args:
        request: that was answered 200.
        rows: that the model was asked for.
    """
    import pyarrow as pa  # noqa: PLC0415  an extra, and slow to import

    if request.accept in MEDIA_TYPES:
        table = _table(request.accept, request.answer)
        return {name: table.column(name).combine_chunks() for name in table.column_names}
    predictions = _tensors(request.answer) if request.content_type == kserve.MEDIA_TYPE else _json(request.answer)
    try:
        return prediction_columns(_matrix(predictions), rows, PREDICTION)
    except InvalidInputError:
        shown = orjson.dumps(predictions, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        return {PREDICTION: pa.array([shown] * rows, pa.string())}


def _table(media_type: str, answer: bytes) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415

    if media_type == PARQUET:
        import pyarrow.parquet as pq  # noqa: PLC0415

        return pq.read_table(pa.BufferReader(answer))
    opened = pa.ipc.open_stream if media_type == STREAM else pa.ipc.open_file
    with opened(pa.BufferReader(answer)) as reader:
        return reader.read_all()


def _json(answer: bytes) -> Any:
    content = orjson.loads(answer)
    return content["predictions"] if isinstance(content, dict) and "predictions" in content else content


def _tensors(answer: bytes) -> Any:
    """The outputs of KServe's protocol by name, the bytes of some behind the JSON; one alone without its name."""
    content, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    # Latin-1 keeps one character for each byte, so that positions are those of the bytes.
    content, raw = orjson.loads(answer[:end]), memoryview(answer)[end:]
    found = {}
    for output in content["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        found[output["name"]] = read_tensor(output, None if size is None else raw[:size])
        raw = raw[size or 0 :]
    return found[kserve.OUTPUT] if found.keys() == {kserve.OUTPUT} else found


def _matrix(predictions: Any) -> Any:
    """Lists of equally many numbers as columns: what was an array of shape (rows, k) before it was JSON."""
    if not isinstance(predictions, list) or not predictions or not all(isinstance(row, list) for row in predictions):
        return predictions
    width = len(predictions[0])
    if not width or any(len(row) != width for row in predictions):
        return predictions
    columns = {f"{PREDICTION}_{at}": [row[at] for row in predictions] for at in range(width)}
    return {PREDICTION: columns[f"{PREDICTION}_0"]} if width == 1 else columns
