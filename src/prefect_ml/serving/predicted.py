"""What was predicted, as plain values that are the same whichever form the answer was sent in."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.serving import kserve
from prefect_ml.serving.columnar_bodies import MEDIA_TYPES, PARQUET, PREDICTION, STREAM
from prefect_ml.serving.kserve_answers import read_outputs

if TYPE_CHECKING:
    import pyarrow as pa

    from prefect_ml.serving.observing import Answered


def form_of(request: Answered) -> str:
    """In which form a request was answered: "" for JSON, a media type of tables, or that of KServe's protocol."""
    return kserve.MEDIA_TYPE if request.content_type == kserve.MEDIA_TYPE else request.accept


def values_of(answer: bytes, form: str = "") -> Any:
    """All that an answer predicts: lists, dicts by the name of an output or column, numbers and texts.

    NaN and infinities are None, as in JSON.

    Args:
        answer: the body of an answer of our own that was sent with 200.
        form: that it has; see `form_of`.
    """
    if form == kserve.MEDIA_TYPE:
        return {name: _plain(array.tolist()) for name, array in read_outputs(answer).items()}
    if form in MEDIA_TYPES:
        return _plain(_rows(read_answer(form, answer)))
    content = orjson.loads(answer)
    return content["predictions"] if isinstance(content, dict) and "predictions" in content else content


def predictions_of(answer: bytes, form: str = "", most: int | None = None) -> list[Any]:
    """The first predictions in an answer, one a row, of several outputs the first; none where it is not made of rows.

    Args:
        answer: its body.
        form: that it has; see `form_of`.
        most: how many; all by default.
    """
    if form == kserve.MEDIA_TYPE:
        array = next(iter(read_outputs(answer).values()), None)
        found = array[:most].tolist() if array is not None and array.ndim else None
    elif form in MEDIA_TYPES:
        found = _rows(read_answer(form, answer).slice(0, most))
    else:
        try:
            content = orjson.loads(answer)
        except orjson.JSONDecodeError:
            return []
        found = content.get("predictions") if isinstance(content, dict) else content
        if isinstance(found, dict):  # one list an output
            found = next(iter(found.values()), None)
        return found[:most] if isinstance(found, list) else []
    return [_plain(row) for row in islice(found or (), most)]


def read_answer(media_type: str, answer: bytes) -> pa.Table:
    """The table in an answer of our own."""
    import pyarrow as pa  # noqa: PLC0415  only for those who ask for it

    if media_type == PARQUET:
        import pyarrow.parquet as pq  # noqa: PLC0415

        return pq.read_table(pa.BufferReader(answer))
    opened = pa.ipc.open_stream if media_type == STREAM else pa.ipc.open_file
    with opened(pa.BufferReader(answer)) as reader:
        return reader.read_all()


def _rows(table: pa.Table) -> list[Any]:
    """The rows of a table as JSON would have them: values, lists of a matrix, or dicts of a DataFrame."""
    names = table.column_names
    if names == [PREDICTION]:
        return table.column(0).to_pylist()  # type: ignore[no-any-return]
    if names == [f"{PREDICTION}_{at}" for at in range(len(names))]:
        return [list(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]
    return table.to_pylist()  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value
