"""The types of a model's inputs and outputs, and their JSON in MLmodel files.

The shape is MLflow's (https://mlflow.org/docs/latest/ml/model/signatures): a list of columns or of tensors,
kept in the MLmodel file as JSON text. This module needs neither numpy nor pandas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCALARS = ("boolean", "integer", "long", "float", "double", "string", "binary", "datetime")


@dataclass(frozen=True, slots=True)
class ArrayType:
    items: ValueType


@dataclass(frozen=True, slots=True)
class MapType:
    values: ValueType


@dataclass(frozen=True, slots=True)
class Property:
    type: ValueType
    required: bool = True


@dataclass(frozen=True, slots=True)
class ObjectType:
    properties: tuple[tuple[str, Property], ...]


@dataclass(frozen=True, slots=True)
class AnyType:
    """Anything, null included."""


ValueType = str | ArrayType | MapType | ObjectType | AnyType


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; a schema without names describes columns by position."""

    type: ValueType
    name: str | int | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array: numpy's name of its dtype, and its shape with -1 for a free axis."""

    dtype: str
    shape: tuple[int, ...]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Param:
    """A named inference parameter; `shape` is None for one value and (-1,) for a list."""

    name: str
    type: str
    default: Any = None
    shape: tuple[int, ...] | None = None


Schema = tuple[Column, ...] | tuple[Tensor, ...]


def describe(type_: ValueType) -> str:
    """The type as a person reads it."""
    match type_:
        case ArrayType(items):
            return f"array of {describe(items)}"
        case MapType(values):
            return f"map of {describe(values)}"
        case ObjectType(properties):
            return "object with " + ", ".join(name for name, _ in properties)
        case AnyType():
            return "anything"
        case _:
            return str(type_)


def type_to_json(type_: ValueType) -> dict[str, Any]:
    match type_:
        case ArrayType(items):
            return {"type": "array", "items": type_to_json(items)}
        case MapType(values):
            return {"type": "map", "values": type_to_json(values)}
        case ObjectType(properties):
            fields = {name: {**type_to_json(p.type), "required": p.required} for name, p in properties}
            return {"type": "object", "properties": fields}
        case AnyType():
            return {"type": "any"}
        case _:
            return {"type": type_}


def type_from_json(data: Mapping[str, Any]) -> ValueType:
    kind = data.get("type")
    match kind:
        case "array":
            return ArrayType(type_from_json(data["items"]))
        case "map":
            return MapType(type_from_json(data["values"]))
        case "object":
            fields = data["properties"].items()
            return ObjectType(tuple((n, Property(type_from_json(p), p.get("required", True))) for n, p in fields))
        case "any":
            return AnyType()
        case str() if kind in SCALARS:
            return kind
        case _:
            raise InvalidInputError(f"The signature has the unknown type {kind!r}; known are {', '.join(SCALARS)}.")


def schema_to_json(schema: Schema) -> list[dict[str, Any]]:
    return [_tensor_to_json(spec) if isinstance(spec, Tensor) else _column_to_json(spec) for spec in schema]


def schema_from_json(data: Sequence[Mapping[str, Any]]) -> Schema:
    """The schema of a parsed JSON list.

    Raises:
        InvalidInputError: the list is empty or mixed, or a type is unknown.
    """
    if not data:
        raise InvalidInputError("The signature lists no columns; leave it out, or name what the model takes.")
    tensors = [spec for spec in data if spec.get("type") == "tensor"]
    if len(tensors) not in (0, len(data)):
        raise InvalidInputError("The signature mixes tensors and columns; describe the data by one of them.")
    if tensors:
        return tuple(_tensor_from_json(spec) for spec in tensors)
    columns = tuple(Column(type_from_json(c), c.get("name"), _required(c)) for c in data)
    odd = [column.name for column in columns if not isinstance(column.name, str | int | None)]
    if odd:
        raise InvalidInputError(f"The signature has a column named {odd[0]!r}; names are text or whole numbers.")
    if len({column.name is None for column in columns}) > 1:
        raise InvalidInputError("The signature names some columns and not others; name all of them or none.")
    return columns


def _required(column: Mapping[str, Any]) -> bool:
    """MLflow before 2.6 wrote `optional` instead."""
    return bool(column.get("required", not column.get("optional", False)))


def _column_to_json(column: Column) -> dict[str, Any]:
    name = {} if column.name is None else {"name": column.name}
    return {**type_to_json(column.type), **name, "required": column.required}


def _tensor_to_json(tensor: Tensor) -> dict[str, Any]:
    name = {} if tensor.name is None else {"name": tensor.name}
    return {**name, "type": "tensor", "tensor-spec": {"dtype": tensor.dtype, "shape": list(tensor.shape)}}


def _tensor_from_json(data: Mapping[str, Any]) -> Tensor:
    spec = data["tensor-spec"]
    return Tensor(str(spec["dtype"]), tuple(int(n) for n in spec["shape"]), data.get("name"))


def param_to_json(param: Param) -> dict[str, Any]:
    shape = None if param.shape is None else list(param.shape)
    return {"name": param.name, "default": param.default, "shape": shape, "type": param.type}


def param_from_json(data: Mapping[str, Any]) -> Param:
    shape = data.get("shape")
    kind = data.get("type", data.get("dtype"))
    return Param(data["name"], str(kind), data.get("default"), None if shape is None else tuple(shape))
