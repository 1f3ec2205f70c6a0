"""Statements over many rows at once, so that a batch is one statement a table and holds Python's lock once."""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_ml.store.driver import execute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

# SQLite takes 32,766 parameters a statement; beyond this many rows nothing gets faster.
_ROWS = 1024


class Bulk(NamedTuple):
    """A statement over given rows.

    Attributes:
        statement: SQL in which `{rows}` stands for the table of given rows and `{run}`, before it, for one number;
            its result must be the same when a row is given twice.
        columns: names and PostgreSQL types of the given rows' columns, as in `(("k", "text"),)`.
    """

    statement: str
    columns: tuple[tuple[str, str], ...]

    def execute(self, connection: Connection, run: int | None, rows: Iterable[Sequence[Any]]) -> list[Any]:
        """Run it for the rows, a thousand at a time, and return what it answers."""
        first = () if run is None else (run,)
        prepare = _unnest if connection.dialect.name == "postgresql" else _values
        found: list[Any] = []
        for part in [rows] if isinstance(rows, list) and 0 < len(rows) <= _ROWS else _parts(rows):
            sql, parameters = prepare(self, part)
            found += execute(connection, sql, (*first, *parameters))
        return found


def _parts(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    remaining = iter(rows)
    while part := list(islice(remaining, _ROWS)):
        yield part


def _values(bulk: Bulk, rows: list[Sequence[Any]]) -> tuple[str, tuple[Any, ...]]:
    # SQLite keeps a prepared statement for each number of rows, and a large one takes much memory. So there are
    # few numbers, a quarter of a power of two apart, and the last row is given again as often as it takes.
    if len(rows) == 1:
        return _values_sql(bulk, 1), tuple(rows[0])
    step = 1 << max(0, len(rows).bit_length() - 3)
    missing = -len(rows) % step
    return _values_sql(bulk, len(rows) + missing), tuple(chain.from_iterable([*rows, *rows[-1:] * missing]))


@lru_cache(maxsize=128)
def _values_sql(bulk: Bulk, count: int) -> str:
    names = ", ".join(f"column{number} AS {name}" for number, (name, _) in enumerate(bulk.columns, 1))
    row = f"({', '.join('?' * len(bulk.columns))})"
    table = f"(SELECT {names} FROM (VALUES {', '.join([row] * count)}))"  # noqa: S608  marks and own names only
    return bulk.statement.format(run="?", rows=table)


def _unnest(bulk: Bulk, rows: list[Sequence[Any]]) -> tuple[str, tuple[Any, ...]]:
    return _unnest_sql(bulk), tuple(list(column) for column in zip(*rows, strict=True))


@lru_cache(maxsize=128)
def _unnest_sql(bulk: Bulk) -> str:
    names = ", ".join(name for name, _ in bulk.columns)
    arrays = ", ".join(f"%s::{kind}[]" for _, kind in bulk.columns)
    return bulk.statement.format(run="%s::bigint", rows=f"unnest({arrays}) AS given({names})")
