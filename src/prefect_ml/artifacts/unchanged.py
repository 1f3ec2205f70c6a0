"""Which files of this machine were found to have their digest, and have not changed since.

A hash takes longer than sending a file does, so a server computes it when a file is read for the first time and when
it has changed. What rots on the disk meanwhile is found by whoever receives the file and compares its digest.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

_MOST = 4096
# A file that was changed so lately may change again without a difference in its times, which have steps.
_SETTLED_NS = 1_000_000_000

State = tuple[int, int, int, int, int]


class UnchangedFiles:
    """The files of a process, the last used 4,096 of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digests: OrderedDict[State, str] = OrderedDict()

    def has(self, found: os.stat_result, digest: str) -> bool:
        """Whether a file in this state was found to have the digest."""
        state = _state(found)
        with self._lock:
            known = self._digests.get(state) == digest
            if known:
                self._digests.move_to_end(state)
            return known

    def add(self, before: os.stat_result, after: os.stat_result, digest: str) -> None:
        """Note that a file had the digest, when it did not change from before it was read until after."""
        state = _state(before)
        if state != _state(after) or time.time_ns() - before.st_ctime_ns < _SETTLED_NS:
            return
        with self._lock:
            self._digests[state] = digest
            while len(self._digests) > _MOST:
                self._digests.popitem(last=False)


def _state(found: os.stat_result) -> State:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


UNCHANGED = UnchangedFiles()
