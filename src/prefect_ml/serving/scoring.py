"""MLflow's scoring protocol: from a request body to model input, and from predictions to an answer.

A body is JSON with exactly one of `dataframe_split`, `dataframe_records`, `instances` and `inputs`, and optionally
`params`; or CSV with a header. NaN and infinities in predictions become null, since JSON has neither.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import orjson

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.schema import Tensor
from prefect_ml.models.signature import Signature

FIELDS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_NOT_JSON = "Invalid input. Ensure that input is a valid JSON formatted string."
_ONE_FIELD = f"The input must be a JSON dictionary with exactly one of the input fields {list(FIELDS)}."
_NO_SPLIT = "Provided dataframe_split field is not a valid dataframe representation"


class UnsupportedTypeError(InvalidInputError):
    """The content type of a request is neither JSON nor CSV."""


def decode(content_type: str, body: bytes, signature: Signature | None) -> tuple[Any, Mapping[str, Any]]:
    """Model input and params from a request.

    Raises:
        UnsupportedTypeError: another content type than `application/json` (utf-8) or `text/csv`.
        InvalidInputError: the body is none that the protocol knows; the message says why.
    """
    kind, _, parameter = (part.strip().lower() for part in content_type.partition(";"))
    if kind == "text/csv":
        return _from_csv(body), {}
    if kind != "application/json" or parameter.replace('"', "") not in ("", "charset=utf-8"):
        raise UnsupportedTypeError(
            f"This server takes application/json (in UTF-8) or text/csv, not {content_type or 'a body without a type'}."
        )
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(_NOT_JSON) from error
    if not isinstance(document, dict) or sum(field in document for field in FIELDS) != 1:
        raise InvalidInputError(_ONE_FIELD)
    params = document.get("params") or {}
    if not isinstance(params, dict):
        raise InvalidInputError(f"The field params must be a dictionary. Got {_kind(params)}")
    field = next(field for field in FIELDS if field in document)
    return _DECODERS[field](document[field], signature), params


def encode(predictions: Any) -> bytes:
    """The answer that holds predictions (arrays, frames, series, lists or scalars)."""
    return orjson.dumps(
        {"predictions": _plain(predictions)},
        default=_plain,
        option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS,
    )


def _from_split(value: Any, signature: Signature | None) -> Any:
    if not isinstance(value, dict):
        raise InvalidInputError(f"Dataframe split format must be a dictionary. Got {_kind(value)}")
    rows, columns = value.get("data"), value.get("columns")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise InvalidInputError(f"{_NO_SPLIT}: data must be a list of rows.")
    if columns is None:
        return _table(rows, None, signature)
    if not isinstance(columns, list) or len({str(name) for name in columns}) != len(columns):
        raise InvalidInputError(f"{_NO_SPLIT}: columns must be a list of different names.")
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            raise InvalidInputError(f"{_NO_SPLIT}: row {number} has {len(row)} values for {len(columns)} columns.")
    return _table(rows, columns, signature)


def _from_records(value: Any, signature: Signature | None) -> Any:
    if not isinstance(value, list):
        raise InvalidInputError(f"Dataframe records format must be a list of records. Got {_kind(value)}")
    if not all(isinstance(record, dict) for record in value):
        raise InvalidInputError("Dataframe records format must be a list of records.")
    columns = list(dict.fromkeys(name for record in value for name in record))
    return _table([[record.get(name) for name in columns] for record in value], columns, signature)


def _from_values(value: Any, signature: Signature | None) -> Any:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return _from_records(value, signature)
    if signature is not None and signature.inputs:
        return value
    import numpy as np  # noqa: PLC0415 (loaded by the model already)

    def array(item: Any) -> Any:
        try:
            return np.asarray(item)
        except ValueError as error:
            raise InvalidInputError(f"The values do not form an array: {error}") from error

    return {name: array(item) for name, item in value.items()} if isinstance(value, dict) else array(value)


_DECODERS = {
    "dataframe_split": _from_split,
    "dataframe_records": _from_records,
    "instances": _from_values,
    "inputs": _from_values,
}


def _table(rows: list[list[Any]], columns: list[Any] | None, signature: Signature | None) -> Any:
    if signature is not None and signature.inputs and isinstance(signature.inputs[0], Tensor):
        return rows
    import pandas as pd  # noqa: PLC0415 (an extra)

    try:
        return pd.DataFrame(rows, columns=columns)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"{_NO_SPLIT}: {error}") from error


def _from_csv(body: bytes) -> Any:
    import pandas as pd  # noqa: PLC0415 (an extra)

    try:
        return pd.read_csv(io.BytesIO(body))
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InvalidInputError(f"The body is not valid CSV with a header: {error}") from error


def _plain(value: Any) -> Any:
    """Values that JSON knows, from those of the libraries that models speak in."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return value.to_dict(orient="records")
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return value.decode(errors="replace") if isinstance(value, bytes) else value
    return list(value)


def _kind(value: Any) -> str:
    return {dict: "dictionary", list: "list", str: "string", type(None): "null"}.get(type(value), type(value).__name__)
