"""Types of columns in MLflow's words, from the names that pandas, polars and Arrow give them."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# As MLflow maps them; what it has no word for is "any".
_NAMES = {
    **dict.fromkeys(("bool", "boolean"), "boolean"),
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "integer"),
    **dict.fromkeys(("int64", "uint32", "uint64", "int128", "uint128"), "long"),
    **dict.fromkeys(("float16", "float32", "float", "halffloat"), "float"),
    **dict.fromkeys(("float64", "double", "decimal", "decimal32", "decimal64", "decimal128", "decimal256"), "double"),
    **dict.fromkeys(("datetime", "datetime64", "timestamp", "date", "date32", "date64"), "datetime"),
    **dict.fromkeys(("string", "str", "utf8", "large_string", "string_view", "enum", "categorical"), "string"),
    **dict.fromkeys(("binary", "large_binary", "binary_view", "fixed_size_binary", "bytes"), "binary"),
}
_LIST = re.compile(r"(?:large_|fixed_size_)?(?:list|array)(?:_view)?[<(](?:\w+: )?(.+)")
_WRAPPED = re.compile(r"(?:sparse\[|category\[|dictionary<values=|extension<)(.+)")
_NAME = re.compile(r"[a-z_]+\d*")
_SCALARS = (
    (bool, "boolean"),
    (int, "long"),
    (float, "double"),
    (str, "string"),
    (bytes, "binary"),
    (dt.date, "datetime"),
)


def column_type(dtype: str) -> dict[str, Any]:
    """MLflow's JSON of a type by the name of a dtype, for example `{"type": "long"}` for "Int64"."""
    text = dtype.lower()
    if (wrapped := _WRAPPED.match(text)) is not None:
        return column_type(wrapped.group(1))
    if (inner := _LIST.match(text)) is not None:
        return {"type": "array", "items": column_type(inner.group(1))}
    name = _NAME.match(text)
    return {"type": _NAMES.get(name.group(), "any") if name else "any"}


def values_type(values: Iterable[Any]) -> dict[str, Any]:
    """The type of Python objects: that of all scalars that are not missing, or "any"."""
    found = {
        next((word for kind, word in _SCALARS if isinstance(value, kind)), "any")
        for value in values
        if not _is_missing(value)
    }
    if found == {"long", "double"}:
        return {"type": "double"}
    return {"type": found.pop() if len(found) == 1 else "any"}


def _is_missing(value: Any) -> bool:
    # By name, so that pandas is not imported for it.
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")
