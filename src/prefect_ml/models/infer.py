"""From example data to a schema. Types are chosen as MLflow chooses them, so that its readers agree."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect_ml.errors import SignatureError
from prefect_ml.models.schema import (
    AnyType,
    ArrayType,
    Column,
    ObjectType,
    Param,
    Property,
    Schema,
    Tensor,
    ValueType,
    describe,
)
from prefect_ml.models.values import is_null

# By kind and size in bytes of a numpy dtype; the smallest type that holds every value.
_INTEGERS = {("i", 1): "integer", ("i", 2): "integer", ("i", 4): "integer", ("i", 8): "long"}
_UNSIGNED = {("u", 1): "integer", ("u", 2): "integer", ("u", 4): "long"}
_FLOATS = {("f", 2): "float", ("f", 4): "float", ("f", 8): "double"}
_NUMBERS = {**_INTEGERS, **_UNSIGNED, **_FLOATS}
_BY_KIND = {"b": "boolean", "M": "datetime", "U": "string", "S": "binary"}


def infer_schema(data: Any) -> Schema:
    """The schema of a DataFrame, Series, array, dict, list or single value.

    Raises:
        SignatureError: the data is empty where a type is needed, or holds something that has no type here.
    """
    kind = data_kind(data)
    if kind == "frame":
        return _frame_schema(data)
    if kind == "series":
        return (_series_column(data, None if data.name is None else _name(data.name)),)
    if kind == "array":
        return (_tensor(data, None),)
    if isinstance(data, Mapping):
        return _mapping_schema(data)
    if isinstance(data, (list, tuple)):
        return _list_schema(data)
    return (Column(value_type(data, "the value")),)


def data_kind(data: object) -> str:
    """The kind "frame", "series", "array" or "", by the class's module: pandas is not imported for it."""
    for base in type(data).__mro__:
        top = base.__module__.split(".")[0]
        if top == "pandas" and base.__name__ in ("DataFrame", "Series"):
            return "frame" if base.__name__ == "DataFrame" else "series"
        if top == "numpy" and base.__name__ == "ndarray":
            return "array"
    return ""


def infer_params(params: Mapping[str, Any]) -> tuple[Param, ...]:
    """Inference parameters with the given values as defaults; values are scalars or lists of scalars."""
    return tuple(_param(name, value) for name, value in params.items())


def value_type(value: Any, where: str) -> ValueType:
    """The type of one Python or numpy value; `where` names it in an error."""
    if isinstance(value, Mapping):
        fields = ((str(k), Property(value_type(v, f"{where}.{k}"))) for k, v in value.items())
        return ObjectType(tuple(sorted(fields, key=lambda field: field[0])))
    if data_kind(value) == "array":
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return ArrayType(common_type((value_type(item, where) for item in value), where))
    scalar = _scalar_type(value)
    if scalar is None:
        raise SignatureError(f"Cannot infer a type for {where}: {type(value).__name__} has none; give a signature.")
    return scalar


def common_type(types: Iterable[ValueType], where: str) -> ValueType:
    """The one type of all items; long and double meet in double, objects in the union of their properties."""
    distinct = list(dict.fromkeys(types))
    if not distinct:
        raise SignatureError(f"Cannot infer a type for {where}: it is empty; give an example with a value in it.")
    known = [type_ for type_ in distinct if not isinstance(type_, AnyType)]
    if not known:
        return AnyType()
    if all(isinstance(type_, ObjectType) for type_ in known):
        return _merged_object([type_ for type_ in known if isinstance(type_, ObjectType)], where)
    if all(isinstance(type_, ArrayType) for type_ in known):
        return ArrayType(common_type((type_.items for type_ in known if isinstance(type_, ArrayType)), where))
    if set(known) <= {"integer", "long", "float", "double"}:
        return known[0] if len(known) == 1 else ("long" if set(known) == {"integer", "long"} else "double")
    if len(known) > 1:
        names = " and ".join(describe(type_) for type_ in known)
        raise SignatureError(f"Cannot infer a type for {where}: it mixes {names}; use one type, or give a signature.")
    return known[0]


def _scalar_type(value: Any) -> ValueType | None:
    if value is None:
        return AnyType()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return None
    dtype = getattr(value, "dtype", None)
    if dtype is not None:
        return _dtype_type(dtype)
    for types, name in (
        (bool, "boolean"),
        (int, "long"),
        (float, "double"),
        (str, "string"),
        ((bytes, bytearray), "binary"),
        ((dt.date, dt.datetime), "datetime"),
    ):
        if isinstance(value, types):
            return name
    return None


def _dtype_type(dtype: Any) -> str | None:
    kind = getattr(dtype, "kind", "")
    return _NUMBERS.get((kind, getattr(dtype, "itemsize", 0))) or _BY_KIND.get(kind)


def _frame_schema(frame: Any) -> Schema:
    names = [_name(name) for name in frame.columns]
    if not names:
        raise SignatureError("Cannot infer a signature from a DataFrame without columns.")
    twice = sorted({str(name) for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise SignatureError(f"The data has columns of the same name ({', '.join(twice)}); rename them.")
    return tuple(_series_column(frame[label], name) for label, name in zip(frame.columns, names, strict=True))


def _series_column(series: Any, name: str | int | None) -> Column:
    where = "the values" if name is None else f"column {name!r}"
    nullable = bool(series.isna().any())
    scalar = None if series.dtype.kind == "O" else _dtype_type(series.dtype)
    if scalar is not None:
        return Column(scalar, name, required=not nullable)
    values = [value for value in series.tolist() if not is_null(value)]
    if not values:
        raise SignatureError(f"Cannot infer a type for {where}: it has no value; give an example with one in it.")
    return Column(common_type((value_type(v, where) for v in values), where), name, required=not nullable)


def _tensor(array: Any, name: str | None) -> Tensor:
    # Classifiers give texts as objects when they were fitted on a column of a frame.
    if array.dtype.kind == "O" and array.size and all(isinstance(value, str) for value in array.flat):
        array = array.astype(str)
    if array.dtype.kind not in "biufcMUS":
        raise SignatureError(f"Cannot infer a signature for an array of dtype {array.dtype}; use a DataFrame for it.")
    # The length of a text is a property of the example alone.
    dtype = {"U": "str", "S": "bytes"}.get(array.dtype.kind, str(array.dtype))
    return Tensor(dtype, (-1, *array.shape[1:]) if array.ndim else (), name)


def _mapping_schema(data: Mapping[Any, Any]) -> Schema:
    if not data:
        raise SignatureError("Cannot infer a signature from an empty dict; give an example with something in it.")
    if all(data_kind(value) == "array" for value in data.values()):
        return tuple(_tensor(array, str(key)) for key, array in data.items())
    return tuple(
        Column(_known(value_type(value, f"column {key!r}"), f"column {key!r}"), _name(key))
        for key, value in data.items()
    )


def _list_schema(data: Sequence[Any]) -> Schema:
    if data and all(isinstance(item, Mapping) for item in data):
        merged = common_type((value_type(item, "the rows") for item in data), "the rows")
        assert isinstance(merged, ObjectType)  # noqa: S101 - objects meet in an object
        if not merged.properties:
            raise SignatureError("Cannot infer a signature from empty dicts; give an example with something in it.")
        return tuple(Column(_known(p.type, f"column {n!r}"), n, p.required) for n, p in merged.properties)
    return (Column(_known(common_type((value_type(item, "the list") for item in data), "the list"), "the list")),)


def _merged_object(objects: list[ObjectType], where: str) -> ObjectType:
    found: dict[str, list[Property]] = {}
    for object_ in objects:
        for name, prop in object_.properties:
            found.setdefault(name, []).append(prop)
    merged = {}
    for name, props in sorted(found.items()):
        everywhere = len(props) == len(objects) and all(prop.required for prop in props)
        merged[name] = Property(common_type((prop.type for prop in props), f"{where}.{name}"), everywhere)
    return ObjectType(tuple(merged.items()))


def _known(type_: ValueType, where: str) -> ValueType:
    if isinstance(type_, AnyType):
        raise SignatureError(f"Cannot infer a type for {where}: it has no value; give an example with one in it.")
    return type_


def _param(name: str, value: Any) -> Param:
    where = f"the parameter {name!r}"
    type_ = _known(value_type(value, where), where)
    shape = None
    if isinstance(type_, ArrayType):
        type_, shape = type_.items, (-1,)
    if not isinstance(type_, str):
        raise SignatureError(f"Cannot infer a type for {where}: only scalars and lists of scalars can be parameters.")
    return Param(name, type_, value, shape)


def _name(label: Any) -> str | int:
    if isinstance(label, (str, int)) and not isinstance(label, bool):
        return label
    item = getattr(label, "item", None)
    if item is not None and isinstance(item(), int):
        return int(item())
    raise SignatureError(f"Column names must be text or whole numbers; rename {label!r} ({type(label).__name__}).")
