"""Tables of Arrow and polars: their columns as a signature, and as a DataFrame whose types lose nothing.

Arrow keeps apart what pandas' own conversion mixes: whole numbers with gaps stay whole (pandas' nullable types), dates
stay dates, maps become dicts.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import SignatureError
from prefect_ml.models.schema import ArrayType, Column, MapType, ObjectType, Property

if TYPE_CHECKING:
    from prefect_ml.models.schema import Schema, ValueType

_ARROW = frozenset({"Table", "RecordBatch", "ChunkedArray", "Array"})
_POLARS = frozenset({"DataFrame", "Series"})


def is_columnar(data: object) -> bool:
    """Whether it is a table or a column of Arrow or polars, by its class's module: neither is imported for it."""
    for base in type(data).__mro__:
        top = base.__module__.split(".")[0]
        if (top == "pyarrow" and base.__name__ in _ARROW) or (top == "polars" and base.__name__ in _POLARS):
            return True
        if top == "polars" and base.__name__ == "LazyFrame":
            raise SignatureError("A polars LazyFrame has no rows yet; give its .collect().")
    return False


def columnar_schema(data: Any) -> Schema:
    """The columns of a table; a column is required when it has no nulls.

    Raises:
        SignatureError: a column's type has no name in a signature (decimals, times of day, durations, uint64).
    """
    table, named = _table(data)
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        where = f"column {name!r}" if named else "the values"
        columns.append(Column(_type(column, where), name if named else None, required=column.null_count == 0))
    if not columns:
        raise SignatureError("Cannot infer a signature from a table without columns.")
    return tuple(columns)


def to_frame(data: Any) -> Any:
    """A DataFrame; without pandas a dict of lists. A column alone becomes a list when it has no name.

    Raises:
        SignatureError: two columns have the same name.
    """
    table, named = _table(data)
    if not named:
        return _plain(table.column(0))
    names = table.column_names
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise SignatureError(f"The data has columns of the same name ({', '.join(twice)}); rename them.")
    if importlib.util.find_spec("pandas") is None:
        return {name: _plain(table.column(name)) for name in names}
    import pandas as pd  # noqa: PLC0415 - only when a frame is made

    plain = [i for i, column in enumerate(table.columns) if not _needs_care(column)]
    frame = table.select(plain).to_pandas(date_as_object=True, ignore_metadata=True)
    if len(plain) == len(names):
        return frame
    apart = {name: _series(column) for name, column in zip(names, table.columns, strict=True) if _needs_care(column)}
    whole = pd.concat([frame, pd.DataFrame(apart, index=pd.RangeIndex(table.num_rows))], axis=1)
    return whole[names]


def to_list(data: Any) -> list[Any]:
    """The values of a column as Python has them."""
    return _plain(_table(data)[0].column(0))


def _table(data: Any) -> tuple[Any, bool]:
    """An Arrow table, and whether its columns have names."""
    if importlib.util.find_spec("pyarrow") is None:
        raise SignatureError("Tables of polars are read by Arrow, which is not installed; pip install pyarrow.")
    import pyarrow as pa  # noqa: PLC0415 - only for tables of Arrow and polars

    name = getattr(data, "name", None)
    if type(data).__module__.startswith("polars"):
        data = data.to_arrow()
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data]), True
    if isinstance(data, pa.Table):
        return data, True
    return pa.table({str(name or ""): data}), bool(name)


def _type(column: Any, where: str) -> ValueType:
    """The type of a column's values; nested fields are required when none of them is null."""
    import pyarrow as pa  # noqa: PLC0415 - only for tables of Arrow and polars

    type_ = column.type
    if pa.types.is_dictionary(type_):
        return _scalar(type_.value_type, where)
    if pa.types.is_map(type_):
        if not _is_text(type_.key_type):
            raise SignatureError(f"Cannot infer a type for {where}: the keys of a map must be text.")
        return MapType(_type(_whole(column).items, where))
    if _is_list(type_):
        return ArrayType(_type(_whole(column).flatten(), where))
    if pa.types.is_struct(type_):
        whole = _whole(column).drop_null()
        fields = zip(type_, whole.flatten(), strict=True)
        named = ((f.name, Property(_type(part, f"{where}.{f.name}"), part.null_count == 0)) for f, part in fields)
        return ObjectType(tuple(sorted(named, key=lambda field: field[0])))
    return _scalar(type_, where)


def _scalar(type_: Any, where: str) -> str:
    import pyarrow.types as t  # noqa: PLC0415 - only for tables of Arrow and polars

    names = (
        ("boolean", t.is_boolean),
        ("integer", lambda x: t.is_integer(x) and (x.bit_width < 32 or t.is_int32(x))),  # noqa: PLR2004 - bits
        ("long", lambda x: t.is_int64(x) or t.is_uint32(x)),
        ("float", lambda x: t.is_float16(x) or t.is_float32(x)),
        ("double", t.is_float64),
        ("string", _is_text),
        ("binary", lambda x: t.is_binary(x) or t.is_large_binary(x) or t.is_fixed_size_binary(x)),
        ("datetime", lambda x: t.is_timestamp(x) or t.is_date(x)),
    )
    found = next((name for name, fits in names if fits(type_)), None)
    if found is None:
        raise SignatureError(f"Cannot infer a type for {where}: {type_} has none in a signature; cast it before.")
    return found


def _is_text(type_: Any) -> bool:
    import pyarrow.types as t  # noqa: PLC0415 - only for tables of Arrow and polars

    return bool(t.is_string(type_) or t.is_large_string(type_) or t.is_string_view(type_))


def _is_list(type_: Any) -> bool:
    import pyarrow.types as t  # noqa: PLC0415 - only for tables of Arrow and polars

    return bool(t.is_list(type_) or t.is_large_list(type_) or t.is_fixed_size_list(type_))


def _whole(column: Any) -> Any:
    """A column as one array."""
    return column.combine_chunks() if hasattr(column, "chunks") else column


def _plain(column: Any) -> list[Any]:
    import pyarrow.types as t  # noqa: PLC0415 - only for tables of Arrow and polars

    values: list[Any] = column.to_pylist(maps_as_pydicts="strict") if _has_map(column.type) else column.to_pylist()
    if t.is_timestamp(column.type) and column.type.unit == "ns":
        # Python's datetime has no nanoseconds; pandas gives its own, which is one.
        return list(column.to_pandas())
    return values


def _has_map(type_: Any) -> bool:
    import pyarrow.types as t  # noqa: PLC0415 - only for tables of Arrow and polars

    return bool(t.is_map(type_)) or any(_has_map(type_.field(i).type) for i in range(type_.num_fields))


def _needs_care(column: Any) -> bool:
    """Whether pandas' own conversion would change the values: whole numbers with gaps, nested ones."""
    import pyarrow.types as t  # noqa: PLC0415 - only for tables of Arrow and polars

    type_ = column.type
    return bool(t.is_nested(type_) or ((t.is_integer(type_) or t.is_boolean(type_)) and column.null_count))


def _series(column: Any) -> Any:
    import pandas as pd  # noqa: PLC0415 - only when a frame is made
    import pyarrow.types as t  # noqa: PLC0415 - only for tables of Arrow and polars

    type_ = column.type
    if t.is_nested(type_):
        return pd.Series(_plain(column), dtype="object")
    width = f"{'U' if t.is_unsigned_integer(type_) else ''}Int{type_.bit_width}" if t.is_integer(type_) else "boolean"
    return column.to_pandas(types_mapper={type_: pd.api.types.pandas_dtype(width)}.get)
