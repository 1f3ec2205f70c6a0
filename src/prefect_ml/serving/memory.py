"""Giving the memory of models back that nobody asks any more."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_ml.models.folder import LoadedModel

# Seconds after which a model that is not freed is taken to be in a cycle of references, and the longest until the next
# try: it may be a request that takes long.
_FIRST, _LONGEST = 5.0, 60.0


class Leaving:
    """Models that were replaced, until they are freed.

    Mostly that is with their last request. A model that holds itself in a cycle is freed by the garbage collector,
    which stops every request while it looks at all objects of all libraries. So it is called only for a model that did
    not go by itself. What is freed, glibc keeps in pieces as large as a model until it is told.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[list[weakref.ref[Any]], float, float]] = []

    def add(self, model: LoadedModel) -> None:
        """Note that a model was replaced; whoever calls keeps no reference."""
        refs: list[weakref.ref[Any]] = [weakref.ref(model)]
        try:
            refs.append(weakref.ref(model.native))
        except TypeError:  # some libraries' objects cannot be referred to weakly
            refs = refs[:1]
        self._waiting.append((refs, time.monotonic() + _FIRST, _FIRST))

    def look(self) -> None:
        """Give back what was freed since, and collect what should have been."""
        if not self._waiting:
            return
        at = time.monotonic()
        there = [each for each in self._waiting if _alive(each[0])]
        gone = len(there) < len(self._waiting)
        if any(due <= at for _, due, _ in there):
            gc.collect()
            gone = True
            left = [each for each in there if _alive(each[0])]
            there = [(refs, due, pause) if due > at else _later(refs, at, pause) for refs, due, pause in left]
        self._waiting = there
        if gone:
            _trim()


def _alive(refs: list[weakref.ref[Any]]) -> bool:
    return any(ref() is not None for ref in refs)


def _later(refs: list[weakref.ref[Any]], at: float, pause: float) -> tuple[list[weakref.ref[Any]], float, float]:
    longer = min(2 * pause, _LONGEST)
    return refs, at + longer, longer


def _trim() -> None:
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
