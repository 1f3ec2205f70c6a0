"""Functions of other libraries that are replaced, and put back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_MISSING = object()


class Patches:
    """What was replaced, by owner and name; undone in the reverse order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: list[tuple[Any, str, Any, Any]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Put what `make` makes of an own or inherited attribute in its place."""
        own = vars(owner).get(name, _MISSING)
        made = make(getattr(owner, name) if own is _MISSING else own)
        setattr(owner, name, made)
        with self._lock:
            self._done.append((owner, name, own, vars(owner).get(name)))

    def undo(self) -> None:
        """Put everything back, except what somebody else has replaced since: that still calls what was there."""
        with self._lock:
            done, self._done = self._done, []
        for owner, name, own, made in reversed(done):
            if vars(owner).get(name) is not made:
                continue
            if own is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
