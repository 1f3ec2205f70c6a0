"""The input example that is kept with a model, in the files that MLflow writes."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.infer import data_kind
from prefect_ml.models.inference import as_plain
from prefect_ml.models.values import is_null

if TYPE_CHECKING:
    from pathlib import Path

    from prefect_ml.models.signature import Signature

FILE = "input_example.json"
SERVING_FILE = "serving_input_example.json"


def write_example(folder: Path, example: Any) -> dict[str, Any]:
    """Write the example, and the request that sends it; returns the MLmodel's section about it.

    Raises:
        InvalidInputError: it cannot be written as JSON.
    """
    example = as_plain(example)
    kind = data_kind(example)
    if kind in ("frame", "series"):
        content, about = _split(example.to_frame() if kind == "series" else example)
        request = {"dataframe_split": content}
    else:
        arrays = kind == "array" or _is_arrays(example)
        content, about = example, {"type": "ndarray" if arrays else "json_object"}
        request = {"inputs": content}
    try:
        (folder / FILE).write_text(json.dumps(content, default=_encode))
        (folder / SERVING_FILE).write_text(json.dumps(request, default=_encode))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"The input example cannot be kept as JSON ({error}); give a DataFrame, an array, a dict or a list."
        ) from error
    return {"artifact_path": FILE, "serving_input_path": SERVING_FILE, **about}


def read_example(folder: Path, about: Mapping[str, Any], signature: Signature | None) -> Any:
    """The example as it was given: a DataFrame, an array, a dict or a list, typed by the signature.

    Raises:
        ArtifactError: its file is missing or no JSON.
    """
    try:
        content = json.loads(resolve(folder, str(about.get("artifact_path", FILE))).read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"The input example of {str(folder)!r} cannot be read: {error}.") from error
    type_ = str(about.get("type"))
    if signature is None or signature.inputs is None:
        return _arrays(content) if type_ == "ndarray" else _frame(content, type_)
    # The signature knows the types of arrays better than their JSON does.
    return signature.enforce(_frame(content, type_))


def _frame(content: Any, type_: str) -> Any:
    if type_ != "dataframe":
        return content
    import pandas as pd  # noqa: PLC0415 - only for a model that takes frames

    return pd.DataFrame(content["data"], columns=content.get("columns"))


def _arrays(content: Any) -> Any:
    import numpy as np  # noqa: PLC0415 - only for a model that takes arrays

    return {k: np.array(v) for k, v in content.items()} if isinstance(content, dict) else np.array(content)


def _split(frame: Any) -> tuple[dict[str, Any], dict[str, str]]:
    columns = frame.columns.tolist()
    values = [_cells(frame.iloc[:, i].tolist()) for i in range(len(columns))]
    content: dict[str, Any] = {"columns": columns, "data": [list(row) for row in zip(*values, strict=True)]}
    if columns == list(range(len(columns))):
        return {"data": content["data"]}, {"type": "dataframe", "pandas_orient": "values"}
    return content, {"type": "dataframe", "pandas_orient": "split"}


def _cells(values: list[Any]) -> list[Any]:
    """The values of a column, nulls as None; moments all as long as the longest, since pandas reads no mixture."""
    moments = [v for v in values if isinstance(v, dt.datetime) and not is_null(v)]
    length = "auto"
    if any(getattr(v, "nanosecond", 0) for v in moments):
        length = "nanoseconds"
    elif any(v.microsecond for v in moments):
        length = "microseconds"
    if length == "auto":
        return [None if is_null(v) else v for v in values]
    return [None if is_null(v) else v.isoformat(timespec=length) if isinstance(v, dt.datetime) else v for v in values]


def _is_arrays(example: Any) -> bool:
    return isinstance(example, Mapping) and bool(example) and all(data_kind(v) == "array" for v in example.values())


def _encode(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON")
