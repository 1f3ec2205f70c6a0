"""From what libraries call params and metrics to what a run can hold, bounded."""

from __future__ import annotations

import posixpath
import re
import reprlib
from collections.abc import Mapping
from typing import Any

from prefect_ml.store.names import MAX_KEY
from prefect_ml.tracking.autolog.contract import EXAMPLE_ROWS, LONGEST_VALUE, MOST_ITEMS

_ODD = re.compile(r"[^/\w.\- :]")

_brief = reprlib.Repr()
_brief.maxlevel = 4
_brief.maxlist = _brief.maxtuple = _brief.maxset = _brief.maxfrozenset = _brief.maxdict = MOST_ITEMS
_brief.maxstring = _brief.maxother = LONGEST_VALUE


def key(name: object) -> str:
    """A name that a run can hold; "@" becomes "_at_", as in MLflow's own names of LightGBM's metrics."""
    text = posixpath.normpath(_ODD.sub("_", str(name).replace("@", "_at_"))).strip("./") or "_"
    return text[:MAX_KEY].rstrip("/.")


def text(value: object) -> str:
    """A param's value: text and numbers as they are, functions by name, all else by a brief `repr`."""
    if isinstance(value, str):
        found = value
    elif value is None or isinstance(value, int | float):
        found = str(value)
    elif callable(value) and isinstance(getattr(value, "__qualname__", None), str):
        found = f"{value.__module__}.{value.__qualname__}"  # type: ignore[attr-defined] # has it as it has the other
    else:
        found = _represented(value)
    short = found if len(found) <= LONGEST_VALUE else found[: LONGEST_VALUE - 1] + "…"
    return short.replace("\x00", "").encode("utf-8", "replace").decode()


def first_rows(x: Any) -> Any:
    """A copy of the first rows of a frame, an array or a list; None of anything else."""
    if hasattr(x, "iloc"):
        return x.iloc[:EXAMPLE_ROWS].copy()
    if isinstance(x, list):
        return x[:EXAMPLE_ROWS]
    return x[:EXAMPLE_ROWS].copy() if type(x).__module__ == "numpy" else None


def _represented(value: object) -> str:
    try:
        return _brief.repr(_plain(value))
    except Exception as error:  # noqa: BLE001 - `repr` is the user's code
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"


def _plain(value: Any) -> Any:
    """Numpy's scalars as Python's, alone and in short collections."""
    if isinstance(value, Mapping) and len(value) <= MOST_ITEMS:
        return {name: _plain(item) for name, item in value.items()}
    if type(value) in (list, tuple) and len(value) <= MOST_ITEMS:
        return type(value)(_plain(item) for item in value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return value
