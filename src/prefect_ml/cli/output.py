"""What a command prints: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any

import orjson
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Columns where nobody looks at a terminal: ids and most lines stay whole for `grep`.
_PIPED = 160

console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED)
complaints = Console(stderr=True, soft_wrap=True)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]


def print_json(value: Any) -> None:
    """Print entities as JSON, NaN as null, exactly one document."""
    document = orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    print(document.decode())  # noqa: T201 (rich would wrap and colour it)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(type(value).__name__)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their columns; text from people is shown as it is, never as markup."""
    table = Table(title=Text(title), title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(show(value) for value in row))
    console.print(table)


def print_fields(title: str, fields: Mapping[str, object]) -> None:
    """Print one thing as name and value."""
    print_table(title, ("field", "value"), fields.items())


def show(value: object) -> Text:
    """One cell."""
    match value:
        case Text():
            return value
        case None:
            return Text("-", style="dim")
        case float():
            shown = f"{value:.6g}"
        case Enum():
            shown = str(value.value)
        case Mapping():
            shown = ", ".join(f"{key}={item}" for key, item in value.items())
        case list() | tuple():
            shown = ", ".join(str(item) for item in value)
        case _:
            shown = str(value)
    return Text(shown)


def when(milliseconds: int | None) -> str | None:
    """A time in ms since the epoch, as local time to the second."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(start: int | None, end: int | None) -> str | None:
    """Seconds between two times in ms; None for what has not ended, or was ended before it started."""
    return None if start is None or end is None else f"{(end - start) / 1000:.1f} s"


def emit(entities: Any, *, json: bool, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a list of entities: as JSON, or its rows as a table."""
    if json:
        print_json(entities)
    else:
        print_table(title, columns, rows)


def fields_of(entity: Any) -> dict[str, object]:
    """The fields of an entity, its own entities included."""
    return dataclasses.asdict(entity)
