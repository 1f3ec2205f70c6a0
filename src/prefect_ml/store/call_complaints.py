"""What is wrong with the arguments of a call, in a sentence that names the place as people know it: `metric 'loss'`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]

_MUST_BE = {
    "string_type": "a string",
    "string_unicode": "valid Unicode",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "True or False",
    "dict_type": "an object",
    "mapping_type": "an object",
    "list_type": "a list",
}
_SHOWN = 100


def refused(detail: ErrorDetails, data: Any) -> str:
    """What pydantic found.

    Args:
        detail: of its error.
        data: the arguments as they came, by name.
    """
    place = place_in(data, detail["loc"])
    kind = detail["type"]
    if kind == "missing":
        return f"{place} is missing"
    if kind not in _MUST_BE:
        return f"{place}: {detail['msg']}"
    return f"{place} must be {_MUST_BE[kind]}, got {_short(detail['input'])}"


def unsendable(data: Any) -> str | None:
    """Which of the arguments is nothing that JSON, or a float at the other end, can hold; None when all are."""
    for path, leaf in _leaves(data, ()):
        if problem := _problem(leaf):
            return f"{place_in(data, path)} {problem}"
    return None


def place_in(data: Any, path: Sequence[str | int]) -> str:
    """A place in the arguments: `metric 'loss'`, `tag 'k'`, `input 2, tag 'k'`."""
    named: list[str] = []
    for part in path:
        within = _item(data, part)
        if named and isinstance(data, dict | list | tuple) and not _is_point(data) and _is_plural(named[-1]):
            name = within[0] if _is_point(within) else part
            named[-1] = f"{_singular(named[-1])} {name!r}"
        elif isinstance(part, str):
            named.append(part)
        data = within
    return ", ".join(named) or "a value"


def _is_plural(name: str) -> bool:
    return name.endswith("s") and name.isidentifier()


def _singular(name: str) -> str:
    return name[:-2] if name.endswith("ches") else name[:-1]


def _is_point(data: Any) -> bool:
    """A NamedTuple as it stands in JSON, which begins with what names it."""
    return isinstance(data, list | tuple) and bool(data) and isinstance(data[0], str) and len(data) > 1


def _item(data: Any, part: str | int) -> Any:
    try:
        return data[part]
    except (LookupError, TypeError):
        return None


def _leaves(data: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(data, dict):
        for name, value in data.items():
            yield (*path, name), name
            yield from _leaves(value, (*path, name))
    elif isinstance(data, list | tuple):
        for number, value in enumerate(data):
            yield from _leaves(value, (*path, number))
    else:
        yield path, data


def _problem(leaf: Any) -> str | None:
    if isinstance(leaf, str):
        try:
            leaf.encode()
        except UnicodeEncodeError:
            return f"is no valid Unicode text: {_short(leaf)}"
    elif isinstance(leaf, int):
        try:
            math.isfinite(leaf)
        except OverflowError:
            return "is too large for a number; scale it"
    elif leaf is not None and not isinstance(leaf, float):
        return f"is nothing that can be sent: {_short(leaf)} of type {type(leaf).__name__}"
    return None


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
