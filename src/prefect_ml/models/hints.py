"""What type hints say of a model's input and output: rows as pydantic models, data classes, typed dicts or scalars.

A function that takes `list[Row]` takes a table with a column for each field of `Row`, whose rows come as objects of
that type; one that takes `list[float]` takes plain values. What a hint cannot say (a DataFrame, an array, `Any`) is
unknown, and an example has to tell; what it says and no signature can name is an error.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import datetime as dt
import enum
import inspect
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from prefect_ml.errors import SignatureError
from prefect_ml.models.infer import common_type, data_kind
from prefect_ml.models.schema import AnyType, ArrayType, Column, MapType, ObjectType, Property, Schema, ValueType
from prefect_ml.models.values import is_null

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SCALARS: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "long"),
    (float, "double"),
    (str, "string"),
    (bytes, "binary"),
    (dt.date, "datetime"),
)
_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_LIBRARIES = frozenset({"pandas", "numpy", "polars", "pyarrow", "torch", "scipy", "xgboost", "lightgbm"})
_DEEPEST = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Hints:
    """The hints of a predict function: of its first parameter and of its result, None where they say nothing."""

    input: Any = None
    output: Any = None


def hints_of(function: Callable[..., Any]) -> Hints:
    """The hints of a function, or of the `predict` of an object; a hint that cannot be evaluated says nothing."""
    call = getattr(function, "predict", function)
    try:
        parameters = [p for p in inspect.signature(call).parameters.values() if p.kind is not p.VAR_KEYWORD]
        plain = call if inspect.isroutine(call) else type(call).__call__
        found = get_type_hints(plain, include_extras=True)
    except (TypeError, ValueError, NameError, AttributeError):
        return Hints()
    given, result = found.get(parameters[0].name) if parameters else None, found.get("return")
    return Hints(given if says_something(given) else None, result if says_something(result) else None)


def says_something(hint: Any) -> bool:
    """Whether a hint tells the columns or the type of its values: not a frame, an array, `Any` or a bare `list`."""
    if hint is None or hint is inspect.Parameter.empty:
        return False
    inner, _ = _unwrapped(_item_of(hint))
    if inner in (Any, object, None, type(None), *_LISTS, *_MAPPINGS) or isinstance(inner, (str, typing.TypeVar)):
        return False
    origin = get_origin(inner)
    if origin is not None and origin not in (Union, types.UnionType, Literal, *_LISTS, *_MAPPINGS):
        return False
    # A frame, an array or a tensor has its own columns and types.
    return _scalar(inner) is not None or getattr(inner, "__module__", "").split(".")[0] not in _LIBRARIES


def schema_of(hint: Any) -> Schema:
    """The columns of a table whose rows, or whose values, have this type; `list[X]` means the same as `X`.

    Raises:
        SignatureError: a part of it has no type that a signature can name; the part is named.
    """
    inner, optional = _unwrapped(_item_of(hint))
    fields = list(_fields(inner)) if _is_row(inner) else None
    if fields is None:
        return (Column(type_of(inner, "the hint"), required=not optional),)
    if not fields:
        raise SignatureError(f"{_name(inner)} has no fields; a row needs at least one.")
    return tuple(Column(type_of(hint_, name), name, _is_required(hint_, needed)) for name, hint_, needed in fields)


def type_of(hint: Any, where: str, depth: int = 0) -> ValueType:
    """The type of one value; `where` names it in an error."""
    if depth > _DEEPEST:
        raise SignatureError(f"Cannot take a type from the hint of {where}: it contains itself.")
    hint, _ = _unwrapped(hint)
    if hint in (Any, object) or get_origin(hint) in (Union, types.UnionType):
        return AnyType()
    if _is_row(hint):
        named = ((n, Property(type_of(h, f"{where}.{n}", depth + 1), _is_required(h, r))) for n, h, r in _fields(hint))
        return ObjectType(tuple(sorted(named, key=lambda field: field[0])))
    found = _container(hint, where, depth) or _enumerated(hint, where) or _scalar(hint)
    if found is None:
        raise SignatureError(
            f"Cannot take a type from the hint of {where}: {_name(hint)} has none in a signature; "
            "give a signature, or an input_example and no hint."
        )
    return found


def _container(hint: Any, where: str, depth: int) -> ValueType | None:
    origin, args = get_origin(hint), get_args(hint)
    if origin in _LISTS:
        items = [arg for arg in args if arg is not Ellipsis]
        return ArrayType(common_type((type_of(item, where, depth + 1) for item in items), where))
    if origin in _MAPPINGS:
        if args[0] is not str:
            raise SignatureError(f"Cannot take a type from the hint of {where}: the keys of a map must be str.")
        return MapType(type_of(args[1], where, depth + 1))
    return None


def _enumerated(hint: Any, where: str) -> ValueType | None:
    values = get_args(hint) if get_origin(hint) is Literal else ()
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        values = tuple(member.value for member in hint)
    return common_type((type_of(type(value), where) for value in values), where) if values else None


def takes_rows(hint: Any) -> bool:
    """Whether a function with this hint has to be given objects of its own types, and not a table or plain values."""
    return hint is not None and _is_row(_unwrapped(_item_of(hint))[0])


def as_hinted(hint: Any, data: Any) -> Any:
    """Fitted data as the hint says: a list of its rows or values, or one of them when the hint is no list.

    Columns that are null and whose field has a default are left to the default.

    Args:
        hint: of the first parameter, as `hints_of` gives it.
        data: what `Signature.enforce` returned.

    Raises:
        SignatureError: the hint's own checks refuse it; their words are kept.
    """
    from pydantic import PydanticUserError, TypeAdapter, ValidationError  # noqa: PLC0415 - only for functions with hints

    inner, _ = _unwrapped(_item_of(hint))
    rows = _records(data, inner)
    try:
        if not is_typeddict(inner):  # these are dicts, whose types the signature has held already
            rows = TypeAdapter(hint if _is_list(hint) else list[hint]).validate_python(rows)
    except PydanticUserError as error:
        raise SignatureError(f"No {_name(inner)} can be made: {error.message}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        row, *path = first["loc"] or (0,)
        place = ".".join(map(str, path)) or "the value"
        raise SignatureError(f"row {row}: {place}: {first['msg']}.") from error
    if _is_list(hint):
        return rows
    if len(rows) != 1:
        raise SignatureError(
            f"The function takes one {_name(inner)}, and {len(rows)} came; give it one, or a list hint."
        )
    return rows[0]


def _records(data: Any, row: Any) -> list[Any]:
    if data_kind(data) == "frame":
        data = data.astype(object).to_dict("records")
    elif data_kind(data):
        data = data.tolist()
    if isinstance(data, Mapping):
        data = [dict(zip(data, values, strict=True)) for values in zip(*data.values(), strict=True)]
    if not _is_row(row):
        # A table of one column without a name holds plain values.
        values = data if isinstance(data, list) else [data]
        return [next(iter(item.values())) if isinstance(item, Mapping) and len(item) == 1 else item for item in values]
    defaults = {name for name, _, needed in _fields(row) if not needed}
    return [
        {k: None if is_null(v) else v for k, v in item.items() if not (k in defaults and is_null(v))} for item in data
    ]


def _unwrapped(hint: Any) -> tuple[Any, bool]:
    """The hint without what says nothing of its type, and whether it may be None."""
    optional = False
    while True:
        origin, args = get_origin(hint), get_args(hint)
        if origin is Annotated or origin in (typing.Required, typing.NotRequired):
            hint = args[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif origin in (Union, types.UnionType) and type(None) in args:
            optional = True
            rest = [arg for arg in args if arg is not type(None)]
            hint = rest[0] if len(rest) == 1 else Union[tuple(rest)]  # noqa: UP007 - made of a list of types
        else:
            return hint, optional


def _is_list(hint: Any) -> bool:
    hint, _ = _unwrapped(hint)
    origin = get_origin(hint)
    return origin in _LISTS and (origin is not tuple or get_args(hint)[-1:] == (Ellipsis,))


def _item_of(hint: Any) -> Any:
    inner, _ = _unwrapped(hint)
    return get_args(inner)[0] if _is_list(inner) and get_args(inner) else hint


def _is_row(hint: Any) -> bool:
    return isinstance(hint, type) and (
        dataclasses.is_dataclass(hint) or is_typeddict(hint) or hasattr(hint, "model_fields")
    )


def _fields(row: Any) -> Iterator[tuple[str, Any, bool]]:
    """The name, the hint and whether it must be given, of each field."""
    if hasattr(row, "model_fields"):
        for name, field in row.model_fields.items():
            alias = field.validation_alias if isinstance(field.validation_alias, str) else field.alias
            yield alias or name, field.annotation, field.is_required()
        return
    hints = get_type_hints(row, include_extras=True)
    if is_typeddict(row):
        for name, hint in hints.items():
            # `__required_keys__` misses what stands in annotations that are text.
            needed = get_origin(hint) is typing.Required or name in row.__required_keys__
            yield name, hint, needed and get_origin(hint) is not typing.NotRequired
        return
    for field in dataclasses.fields(row):
        given = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if field.init:
            yield field.name, hints[field.name], not given


def _is_required(hint: Any, needed: bool) -> bool:
    inner, optional = _unwrapped(hint)
    return needed and not optional and inner is not Any


def _scalar(hint: Any) -> str | None:
    if not isinstance(hint, type):
        return None
    if any(base.__module__ == "numpy" and base.__name__ == "generic" for base in hint.__mro__):
        return _numpy_scalar(hint)
    return next((name for type_, name in _SCALARS if issubclass(hint, type_)), None)


def _numpy_scalar(hint: type) -> str | None:
    from prefect_ml.models.infer import value_type  # noqa: PLC0415 - only for numpy's own types

    with contextlib.suppress(SignatureError, TypeError, ValueError):
        found = value_type(hint(), "the hint")
        return found if isinstance(found, str) else None
    return None


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint)
