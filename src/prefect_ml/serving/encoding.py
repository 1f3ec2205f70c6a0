"""Encoding what a model predicts as the JSON of a scoring answer.

JSON has no NaN and no infinity: both, and pandas' NA and NaT, are sent as null. A DataFrame is sent as a list of
records, as MLflow does, a Series as the list of its values, and bytes as base64.
"""

from __future__ import annotations

import base64
from typing import Any

import orjson

from prefect_ml.models.infer import data_kind
from prefect_ml.models.values import is_null
from prefect_ml.serving.failure import ModelFailedError

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def encode(predictions: Any, *, bare: bool = False) -> bytes:
    """The body of the answer: `{"predictions": ...}`, or the predictions alone when `bare`.

    Raises:
        ModelFailedError: the model predicts something that has no JSON.
    """
    try:
        return orjson.dumps(predictions if bare else {"predictions": predictions}, _plain, _OPTIONS)
    except TypeError as error:  # orjson.JSONEncodeError is one
        raise ModelFailedError(
            f"The model's answer has no JSON: {error.__cause__ or error}. Return arrays, tables, lists or dicts."
        ) from error


def _plain(value: Any) -> Any:
    """What orjson does not know, in types that it knows."""
    if data_kind(value) == "frame":
        return _records(value)
    if is_null(value):
        return None
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, (set, frozenset)):
        return list(value)
    for method in ("isoformat", "toarray", "tolist"):  # pandas' times, scipy's matrices, other libraries' arrays
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"{type(value).__name__} has no JSON")


def _records(frame: Any) -> list[dict[Any, Any]]:
    labels = [label if isinstance(label, (str, int)) else str(label) for label in frame.columns]
    columns = [frame.iloc[:, position].tolist() for position in range(len(labels))]
    if not columns:
        return [{} for _ in range(len(frame))]
    return [dict(zip(labels, row, strict=True)) for row in zip(*columns, strict=True)]
