"""Decoding the body of a scoring request (https://mlflow.org/docs/latest/ml/deployment/#local-inference-server-spec).

The beginnings of the messages are MLflow's, since its clients match them.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.errors import InvalidInputError
from prefect_ml.http.refusal import RefusedError
from prefect_ml.models.columnar import to_frame
from prefect_ml.serving import columnar_bodies
from prefect_ml.serving.cells import typed_cells
from prefect_ml.serving.tables import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.models.signature import Signature

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
# Language models are asked without a wrapper, and answer without one.
BARE_KEYS = ("messages", "prompt", "input")
_CSV = "text/csv"
_MEDIA_TYPES = ("application/json", _CSV, *columnar_bodies.MEDIA_TYPES)
# Each key of a record is a column of the whole table: a small body could make a table that no memory holds.
_MOST_CELLS = 1 << 24


@dataclass(slots=True)
class Request:
    """What the model is asked.

    Attributes:
        data: that it is to predict on; an array where the decoder has found that it fits the signature.
        params: of the prediction.
        bare: whether the answer is sent without the key "predictions".
        accept: the media type of the answer; "" for JSON.
        asked: what else the form of the request needs for its answer.
    """

    data: Any
    params: Mapping[str, Any] | None = None
    bare: bool = False
    accept: str = ""
    asked: Any = None


class Decoder:
    """Decodes requests for a model with this signature.

    Args:
        signature: of the model; None when it does not say what it takes.
        as_matrix: whether a table of plain numbers of one type becomes an array, which the signature need not see.
    """

    def __init__(self, signature: Signature | None, *, as_matrix: bool = False) -> None:
        self._layout = Layout(signature, as_matrix=as_matrix)
        self._params = frozenset(param.name for param in signature.params) if signature else frozenset()

    def decode(self, content_type: str, body: bytes) -> Request:
        """The request in a body.

        Raises:
            InvalidInputError: it is no request; a `SignatureError` when it cannot fit the model.
            RefusedError: 415 for another content type than JSON or CSV in UTF-8.
        """
        try:
            media_type = "application/json" if content_type == "application/json" else _media_type(content_type)
            if media_type == "application/json":
                return self._json(parse_json(body))
            return Request(self._csv(body) if media_type == _CSV else self._table(media_type, body))
        except RecursionError as error:
            raise InvalidInputError("Invalid input. The body is nested too deeply; flatten it.") from error

    def of_tensors(self, tensors: Mapping[str, Any]) -> Any:
        """The data of arrays by name, for the model's signature.

        Raises:
            InvalidInputError: the model has columns, and these arrays are none.
        """
        return self._layout.of_tensors(tensors)

    def _json(self, content: Any) -> Request:
        if not isinstance(content, dict):
            raise InvalidInputError(f"Invalid input. {_required()}. Received {_kind(content)}.")
        given = [key for key in FORMATS if key in content]
        if not given and any(key in content for key in BARE_KEYS):
            data = {key: value for key, value in content.items() if key not in self._params}
            return Request(data, {key: content[key] for key in self._params & content.keys()}, bare=True)
        if len(given) != 1:
            fields = ", ".join(repr(key)[:60] for key in list(content)[:10]) or "none"
            raise InvalidInputError(f"{_required()}. Received dictionary with input fields: {fields}.")
        params = content.get("params")
        if params is not None and not isinstance(params, dict):
            raise InvalidInputError(f"Invalid input. 'params' must be a dictionary. Got {_kind(params)}.")
        decode = {
            "dataframe_split": self._split,
            "dataframe_records": self._records,
            "instances": self._instances,
            "inputs": self._inputs,
        }[given[0]]
        # Without a signature that declares them, parameters would reach the model unchecked.
        return Request(decode(content[given[0]]), params if self._params else None)

    def _split(self, content: Any) -> Any:
        if not isinstance(content, dict):
            raise InvalidInputError(
                f"Invalid input. Dataframe split format must be a dictionary. Got {_kind(content)}."
            )
        if "data" not in content or content.keys() - {"columns", "data", "index"}:
            raise InvalidInputError(
                "Invalid input. Dataframe split format must have 'data' field and optionally 'columns' and 'index' "
                f"fields. Got {', '.join(repr(key)[:60] for key in list(content)[:10]) or 'none'}."
            )
        labels, rows = _checked_split(content.get("columns"), content["data"])
        if self._layout.known:
            return self._layout.of_rows(labels, rows)
        return _frame("split", rows, columns=labels, index=content.get("index"))

    def _records(self, content: Any) -> Any:
        if not isinstance(content, list):
            raise InvalidInputError(
                f"Invalid input. Dataframe records format must be a list of records. Got {_kind(content)}."
            )
        wrong = next((i for i, record in enumerate(content) if not isinstance(record, dict)), None)
        if wrong is not None:
            raise _no_frame("records", f"record {wrong} is {_kind(content[wrong])}, no dictionary")
        if self._layout.known:
            return self._layout.of_records(content)
        if len(content) * len({key for record in content for key in record}) > _MOST_CELLS:
            raise _no_frame("records", f"records of so many different keys make more than {_MOST_CELLS} cells")
        return _frame("records", content)

    def _instances(self, content: Any) -> Any:
        if isinstance(content, list) and content and all(isinstance(item, dict) for item in content):
            if self._layout.known:
                return self._layout.of_records(content)
            return self._inputs(_by_key(content))
        return self._inputs(content)

    def _inputs(self, content: Any) -> Any:
        if self._layout.known:
            return self._layout.of_columns(content) if isinstance(content, dict) else content
        if isinstance(content, dict):
            return {key: _plain_array(value) for key, value in content.items()}
        return _plain_array(content)

    def _table(self, media_type: str, body: bytes) -> Any:
        table = columnar_bodies.read_table(media_type, body)
        matrix = self._layout.of_table(table)
        if matrix is not None:
            return matrix
        try:
            frame = to_frame(table)
        except InvalidInputError:
            raise
        except (ValueError, TypeError, NotImplementedError) as error:
            raise InvalidInputError(f"Invalid input. The table of {media_type} is no DataFrame: {error}.") from error
        return frame.to_numpy() if self._layout.tensors and not self._layout.names else frame

    def _csv(self, body: bytes) -> Any:
        try:
            rows = [row for row in csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True) if row]
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"Invalid input. Ensure that input is a valid UTF-8 encoded string. Error: {error}."
            ) from error
        except csv.Error as error:
            raise _no_csv(str(error)) from error
        if not rows:
            raise _no_csv("it is empty; the first line names the columns")
        header, *cells = rows
        ragged = next((i for i, row in enumerate(cells) if len(row) != len(header)), None)
        if ragged is not None:
            raise _no_csv(f"row {ragged} has {len(cells[ragged])} values for {len(header)} columns")
        types = {str(column.name): column.type for column in self._layout.columns}
        columns = [
            typed_cells(list(c), types.get(name)) for name, c in zip(header, zip(*cells, strict=True), strict=False)
        ]
        values = [list(row) for row in zip(*columns, strict=True)]
        return self._layout.of_rows(header, values) if self._layout.known else _frame("split", values, columns=header)


def _media_type(content_type: str) -> str:
    """The media type, lower case, when it is one that is understood."""
    media_type, *parameters = (part.strip() for part in content_type.lower().split(";"))
    for parameter in filter(None, parameters):
        name, _, value = parameter.partition("=")
        if name.strip() != "charset":
            raise _unsupported(f"Unrecognized content type parameters: {name.strip()[:60]}.")
        if value.strip().strip('"') != "utf-8":
            raise _unsupported("The scoring server only supports UTF-8.")
    if media_type not in _MEDIA_TYPES:
        raise _unsupported(
            f"This predictor only supports the following content types: {', '.join(_MEDIA_TYPES)}. "
            f"Got {content_type[:100]!r}."
        )
    return media_type


def parse_json(body: bytes) -> Any:
    """The JSON in a body.

    Raises:
        InvalidInputError: it has none.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Python's clients, MLflow's among them, write NaN and Infinity, which JSON does not have.
        if b"NaN" not in body and b"Infinity" not in body:
            raise _no_json(error) from error
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _no_json(error) from error


def _checked_split(columns: Any, data: Any) -> tuple[list[Any], list[list[Any]]]:
    """Labels and rows of a "split" table, each row as long as there are labels."""
    if not isinstance(data, list):
        raise _no_frame("split", f"'data' is {_kind(data)}, no list of rows")
    rows = [row if isinstance(row, list) else [row] for row in data]
    if columns is None:
        columns = list(range(len(rows[0]) if rows else 0))
    if not isinstance(columns, list) or not all(isinstance(name, (str, int, float)) for name in columns):
        raise _no_frame("split", "'columns' must be a list of names")
    if set(map(len, rows)) - {len(columns)}:
        wrong = next(i for i, row in enumerate(rows) if len(row) != len(columns))
        raise _no_frame("split", f"row {wrong} has {len(rows[wrong])} values for {len(columns)} columns")
    return columns, rows


def _by_key(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    keys = records[0].keys()
    wrong = next((i for i, record in enumerate(records) if record.keys() != keys), None)
    if wrong is not None:
        raise InvalidInputError(f"Invalid input. Instance {wrong} has other keys than the first; give all the same.")
    return {key: [record[key] for record in records] for key in keys}


def _frame(orient: str, data: Any, **labels: Any) -> Any:
    """A DataFrame as pandas infers it, for a model that does not say what it takes."""
    import pandas as pd  # noqa: PLC0415 - only for a model that takes tables

    try:
        return pd.DataFrame(data, **labels)
    except Exception as error:
        raise _no_frame(orient, str(error)) from error


def _plain_array(content: Any) -> Any:
    import numpy as np  # noqa: PLC0415 - only for a model that takes arrays

    if isinstance(content, list) and any(isinstance(item, dict) for item in content):
        return content
    try:
        return np.array(content)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"Invalid input. The lists form no array. Error: {error}.") from error


def _required() -> str:
    fields = ", ".join(repr(key) for key in FORMATS)
    return f"The input must be a JSON dictionary with exactly one of the input fields {fields}"


def _no_json(error: Exception) -> InvalidInputError:
    return InvalidInputError(f"Invalid input. Ensure that input is a valid JSON formatted string. Error: {error}.")


def _no_csv(why: str) -> InvalidInputError:
    return InvalidInputError(
        "Failed to parse input as a Pandas DataFrame. Ensure that the input is a valid CSV-formatted Pandas DataFrame "
        f"produced using the `pandas.DataFrame.to_csv()` method. Error: {why}."
    )


def _no_frame(orient: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"Invalid input. Provided dataframe_{orient} field is not a valid dataframe representation in "
        f"'{orient}' format. Error: {why}."
    )


def _unsupported(message: str) -> RefusedError:
    return RefusedError(415, "UNSUPPORTED_MEDIA_TYPE", message)


def _kind(value: Any) -> str:
    words = {dict: "dictionary", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return words.get(type(value), "number")
