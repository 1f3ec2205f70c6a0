"""Removes what was deleted, and ends its own process without a word between the files and the rows of the nth thing."""

from __future__ import annotations

import os
import signal
import sys

from prefect_ml.moving.retention import remove
from prefect_ml.store import open_store


class Dying:
    """A store whose process is killed when it is asked to remove rows for the nth time."""

    def __init__(self, store: object, calls: int) -> None:
        self._store = store
        self._calls = calls

    def __getattr__(self, name: str) -> object:
        if name == "remove":
            self._calls -= 1
            if self._calls == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return getattr(self._store, name)


remove(Dying(open_store(), int(sys.argv[1])), 0)
