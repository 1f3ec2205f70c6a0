"""The beginning of a text file of rows.

Types are those of the first lines, so a later line may hold something else; the number of rows is told when the whole
file is not longer than what is looked at.
"""

from __future__ import annotations

import csv
import io
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_HEAD: Final = 262_144
_TYPED: Final = 100
_TYPES: tuple[tuple[type, str], ...] = ((int, "long"), (float, "double"))


def read_head(path: Path, size: int, delimiter: str) -> tuple[list[dict[str, Any]], int | None]:
    """MLflow's JSON of the columns by the first line, and the number of rows when it is known."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    whole = len(head) >= size
    if not whole:
        # The last line may be cut off.
        head = head[: head.rfind(b"\n") + 1]
    lines = csv.reader(io.StringIO(head.decode("utf-8-sig", errors="replace"), newline=""), delimiter=delimiter)
    names = next(lines, [])
    rows = [row for row in (lines if whole else islice(lines, _TYPED)) if row]
    columns = [
        {"type": _type(row[at] for row in rows[:_TYPED] if at < len(row)), "name": name, "required": False}
        for at, name in enumerate(names)
    ]
    return columns, len(rows) if whole else None


def _type(texts: Iterable[str]) -> str:
    given = [text for text in texts if text.strip()]
    for kind, word in _TYPES:
        if given and all(_is(text, kind) for text in given):
            return word
    return "string"


def _is(text: str, kind: type) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
