"""Tables, record batches and arrays of Arrow; how they are cut into chunks does not count, nor does their metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from prefect_ml.errors import InvalidInputError
from prefect_ml.tracking.datasets.cells import MOST_ITEMS
from prefect_ml.tracking.datasets.sampling import positions
from prefect_ml.tracking.datasets.table import describe_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.tracking.datasets.facts import Facts


def describe(data: Any) -> Facts:
    if isinstance(data, pa.Table | pa.RecordBatch):
        return describe_table(_Table(data, "arrow"))
    if isinstance(data, pa.Array | pa.ChunkedArray):
        return describe_table(_Table(pa.table([data], names=["0"]), "arrow.Array"))
    raise InvalidInputError(f"{type(data).__name__} is no table or array of Arrow.")


class _Table:
    def __init__(self, table: Any, kind: str) -> None:
        self.kind = kind
        self.names: Sequence[Any] = table.schema.names
        self.dtypes: Sequence[str] = [str(type_) for type_ in table.schema.types]
        self.rows: int | None = table.num_rows
        self.size: int | None = table.nbytes
        self._table = table

    def cells(self, column: int, rows: Sequence[int]) -> Sequence[Any]:
        return values(self._table.column(column), rows)

    def never_missing(self, column: int) -> bool:
        return not self._table.schema.field(column).nullable


def values(array: Any, rows: Sequence[int]) -> list[Any]:
    """The values of an array, chunked or not, at some rows."""
    return [_value(array[row]) for row in rows]


def _value(scalar: Any) -> Any:
    """A scalar as a plain value, of whose lists few items are looked at."""
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar | pa.MapScalar):
        items = scalar.values
        return len(items), [_value(items[at]) for at in positions(len(items), MOST_ITEMS)]
    if isinstance(scalar, pa.StructScalar):
        return [(name, _value(item)) for name, item in scalar.items()]
    if isinstance(scalar, pa.ExtensionScalar):
        return _value(scalar.value)
    # Python has no nanoseconds.
    return scalar.value if pa.types.is_temporal(scalar.type) and hasattr(scalar, "value") else scalar.as_py()
