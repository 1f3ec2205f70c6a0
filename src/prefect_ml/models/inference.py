"""From whatever is shown as an example, or said by a type, to a schema; and rows of objects as plain data."""

from __future__ import annotations

import dataclasses
import types
from typing import TYPE_CHECKING, Any, get_origin

from prefect_ml.models.columnar import columnar_schema, is_columnar, to_frame
from prefect_ml.models.hints import schema_of
from prefect_ml.models.infer import infer_schema

if TYPE_CHECKING:
    from prefect_ml.models.schema import Schema


def schema_from(example: Any) -> Schema:
    """The schema of a table of pandas, polars or Arrow, an array, a dict, a list, a value; or of a type.

    A type is a pydantic model, a data class, a typed dict, or a hint such as `list[float]`; objects of such a class
    have its schema.

    Raises:
        SignatureError: some of it has no type that a signature can name.
    """
    if is_hint(example):
        return schema_of(example)
    if is_columnar(example):
        return columnar_schema(example)
    if _is_object(first := _first(example)):
        return schema_of(type(first))
    return infer_schema(example)


def is_hint(example: Any) -> bool:
    """Whether it is a type or a hint and no value."""
    return isinstance(example, (type, types.UnionType)) or get_origin(example) is not None


def as_plain(data: Any) -> Any:
    """Tables of polars and Arrow as a DataFrame, rows that are objects as dicts; anything else as it is.

    Raises:
        SignatureError: a table has two columns of one name, or cannot be read for want of pyarrow.
    """
    if is_columnar(data):
        return to_frame(data)
    if not _is_object(_first(data)):
        return data
    return [_dict_of(row) for row in data] if isinstance(data, (list, tuple)) else _dict_of(data)


def _first(data: Any) -> Any:
    return data[0] if isinstance(data, (list, tuple)) and data else data


def _is_object(value: Any) -> bool:
    kind = type(value)
    return (dataclasses.is_dataclass(kind) or hasattr(kind, "model_fields")) and hasattr(value, "__dict__")


def _dict_of(row: Any) -> Any:
    if hasattr(type(row), "model_fields"):
        return row.model_dump(by_alias=True)
    return dataclasses.asdict(row) if dataclasses.is_dataclass(row) and not isinstance(row, type) else row
