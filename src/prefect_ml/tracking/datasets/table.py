"""What all tables have in common: columns with names and types, and cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from prefect_ml.tracking.datasets.facts import Facts
from prefect_ml.tracking.datasets.sampling import MOST_COLUMNS, MOST_TEXT, Fingerprint, positions, stages
from prefect_ml.tracking.datasets.types import column_type, values_type

if TYPE_CHECKING:
    from collections.abc import Sequence

# Columns that a schema tells; MLflow takes none that is much longer.
MOST_DESCRIBED: Final = 10_000


class Table(Protocol):
    """A table of one library.

    Attributes:
        kind: "pandas", "polars" or "arrow", with the class's name when it is no frame.
        names: of the columns, in any type, repeated or not.
        dtypes: the library's names of their types; "object" for Python objects.
        rows: how many; None for a table that is not computed yet.
        size: bytes; None when unknown.
    """

    kind: str
    names: Sequence[Any]
    dtypes: Sequence[str]
    rows: int | None
    size: int | None

    def cells(self, column: int, rows: Sequence[int]) -> bytes | Sequence[Any]:
        """The values of a column at some rows: as bytes, or one by one."""
        ...

    def never_missing(self, column: int) -> bool:
        """Whether the type of a column has no missing values."""
        ...


def describe_table(table: Table) -> Facts:
    """The facts of a table; a column whose cells cannot be read counts by name and type."""
    count = len(table.names)
    fingerprint = Fingerprint(table.kind)
    fingerprint.add(table.rows, count)
    for name, dtype in zip(table.names, table.dtypes, strict=True):
        fingerprint.add(name, dtype)
    types: dict[int, dict[str, Any]] = {}
    unread: list[str] = []
    columns = positions(count, MOST_COLUMNS)
    for column in () if table.rows is None else columns:
        try:
            seen = _add_column(fingerprint, table, column, stages(table.rows or 0, len(columns)))
        except Exception:  # noqa: BLE001  a library, or somebody's type of array, may raise anything
            unread.append(str(table.names[column]))
            continue
        if table.dtypes[column] == "object":
            types[column] = values_type(seen)
    return Facts(
        kind=table.kind.partition(".")[0],
        digest=fingerprint.digest,
        columns=[_column(table, n, types.get(n)) for n in range(count)] if count <= MOST_DESCRIBED else None,
        rows=table.rows,
        columns_count=count,
        elements=None if table.rows is None else table.rows * count,
        size=table.size,
        unread=unread,
    )


def _add_column(
    fingerprint: Fingerprint, table: Table, column: int, parts: Sequence[Sequence[int]]
) -> bytes | Sequence[Any]:
    """Add the cells of a column, stage by stage until there is enough of them; the first ones are returned."""
    first: bytes | Sequence[Any] = ()
    length = 0
    for number, rows in enumerate(parts):
        cells = table.cells(column, rows)
        first = first if number else cells
        if isinstance(cells, bytes):
            fingerprint.add_bytes(cells)
            continue
        fingerprint.add(*cells)
        length += sum(len(cell) for cell in cells if isinstance(cell, str | bytes))
        if length > MOST_TEXT:
            break
    return first


def _column(table: Table, number: int, type_: dict[str, Any] | None) -> dict[str, Any]:
    found = type_ or column_type(table.dtypes[number])
    return {**found, "name": str(table.names[number]), "required": table.never_missing(number)}
