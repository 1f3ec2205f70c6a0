"""Fitting single Python values to a type, and naming what does not fit. Needs neither numpy nor pandas."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

from prefect_ml.models.schema import AnyType, ArrayType, MapType, ObjectType, ValueType, describe

# The whole numbers that each type holds exactly.
WHOLE_RANGES = {
    "integer": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
    "float": (-(2**24), 2**24),
    "double": (-(2**53), 2**53),
}
_FLOAT_MAX = 3.4028234663852886e38


class Mismatch(Exception):  # noqa: N818 - it never leaves this room; it becomes a SignatureError that names the column
    """A value does not fit; the text says what was expected and what came."""

    def __init__(self, type_: ValueType, value: Any) -> None:
        super().__init__(f"expected {describe(type_)}, got {describe_value(value)}")


def is_null(value: Any) -> bool:
    """None, NaN, and pandas' NA and NaT, told by name so that pandas is not imported."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)


def describe_value(value: Any) -> str:
    """A value's type in the words of a signature, and the value, shortened."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return "null"
    if hasattr(value, "dtype"):
        value = value.tolist()
    text = repr(value)
    return f"{_word(value)} ({text if len(text) <= 60 else text[:57] + '...'})"  # noqa: PLR2004 - a line's worth


def fit(value: Any, type_: ValueType, *, required: bool = True) -> Any:
    """The value as `type_`, if nothing is lost: int to double is fine, 1.5 to long is not.

    Text stands for datetimes (ISO 8601) and for binary (base64), since JSON has neither. Null fits what is
    not required, and float and double as NaN.

    Raises:
        Mismatch: it does not fit.
    """
    if hasattr(value, "dtype"):
        value = value.tolist()
    if isinstance(type_, AnyType):
        return value
    if is_null(value):
        if type_ in ("float", "double"):
            return math.nan
        if required:
            raise Mismatch(type_, value)
        return None
    return _fit_scalar(value, type_) if isinstance(type_, str) else _fit_nested(value, type_)


def _fit_scalar(value: Any, type_: str) -> Any:
    match type_:
        case "boolean" if isinstance(value, bool):
            return value
        case "string" if isinstance(value, str):
            return value
        case "binary":
            return _fit_binary(value)
        case "datetime":
            return _fit_datetime(value)
        case "integer" | "long" | "float" | "double" if isinstance(value, (int, float)):
            return _fit_number(value, type_)
        case _:
            raise Mismatch(type_, value)


def _fit_number(value: float, type_: str) -> float:
    if isinstance(value, bool):
        raise Mismatch(type_, value)
    if isinstance(value, int):
        low, high = WHOLE_RANGES[type_]
        if low <= value <= high:
            return float(value) if type_ in ("float", "double") else value
    elif type_ == "double" or (type_ == "float" and (math.isinf(value) or abs(value) <= _FLOAT_MAX)):
        return value
    raise Mismatch(type_, value)


def _fit_binary(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if not isinstance(value, str):
        raise Mismatch("binary", value)
    try:
        return base64.b64decode("".join(value.split()), validate=True)  # MLflow breaks its lines
    except (binascii.Error, ValueError) as error:
        raise Mismatch("binary", value) from error


def _fit_datetime(value: Any) -> Any:
    if isinstance(value, (dt.datetime, dt.date)):
        return value
    if not isinstance(value, str):
        raise Mismatch("datetime", value)
    try:
        return dt.datetime.fromisoformat(value)
    except ValueError as error:
        raise Mismatch("datetime", value) from error


def _fit_nested(value: Any, type_: ValueType) -> Any:
    match type_:
        case ArrayType(items) if isinstance(value, (list, tuple)):
            return [fit(item, items) for item in value]
        case MapType(values) if isinstance(value, Mapping):
            return {key: fit(item, values) for key, item in value.items()}
        case ObjectType(properties) if isinstance(value, Mapping):
            unknown = value.keys() - {name for name, _ in properties}
            if not unknown:
                given = ((name, prop) for name, prop in properties if prop.required or name in value)
                return {name: fit(value.get(name), prop.type, required=prop.required) for name, prop in given}
        case _:
            pass
    raise Mismatch(type_, value)


def _word(value: Any) -> str:
    words = ((bool, "boolean"), (int, "long"), (float, "double"), (str, "string"), (bytes, "binary"))
    for kind, word in words:
        if isinstance(value, kind):
            return word
    if isinstance(value, (dt.date, dt.datetime)):
        return "datetime"
    if isinstance(value, Mapping):
        return "object"
    return "array" if isinstance(value, (list, tuple)) else type(value).__name__
