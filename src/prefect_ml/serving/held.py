"""A bound on the bytes of requests and answers that are kept after they were answered."""

from __future__ import annotations

import threading


class Held:
    """Counts bytes that are kept until a thread comes to them; taken on the event loop, given back by that thread.

    Args:
        most: bytes that may be kept at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Whether so many bytes may be kept besides; they are counted if so."""
        with self._lock:
            fits = self._bytes + size <= self._most
            self._bytes += size if fits else 0
        return fits

    def give_back(self, size: int) -> None:
        """Note that bytes that were taken are not kept any more."""
        with self._lock:
            self._bytes -= size
