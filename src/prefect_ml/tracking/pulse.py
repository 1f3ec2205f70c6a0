"""Signs of life: this process tells the store, and a process that outlives it, which attempts it executes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prefect_ml.tracking.reaper import end_silent
from prefect_ml.tracking.sync import deliver_left
from prefect_ml.tracking.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from prefect_ml.entities import Attempt, RunStatus
    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store

_FIRST_LOOK = 2.0


class Pulse:
    """The signs of life of one process to one store.

    All but `begin`, `end` and `code_ended` is for the delivering thread only.
    """

    def __init__(self, settings: Settings) -> None:
        self._interval = settings.heartbeat_interval
        self._timeout = settings.heartbeat_timeout
        self._journals = settings.journal_folder
        self._url = settings.resolved_store_url
        self._living: set[str] = set()
        self._code_ended: dict[str, Callable[[], bool]] = {}
        self._silent: set[str] = set()
        self._watch = Watch() if settings.watch else None
        self._beat_at = time.monotonic()
        # Short runs, which are over by then, do not pay for it.
        self._look_at = time.monotonic() + _FIRST_LOOK
        self._delivered_left = False

    def begin(self, attempt_id: str) -> None:
        self._living.add(attempt_id)

    def end(self, attempt_id: str) -> None:
        self._living.discard(attempt_id)
        self._code_ended.pop(attempt_id, None)

    def code_ended(self, attempt_id: str, left: Callable[[], bool]) -> None:
        """The code of an attempt ended.

        Args:
            attempt_id: the attempt.
            left: whether nobody in this process will tell any more how the run ends.
        """
        self._code_ended[attempt_id] = left

    def watch(self, attempt: Attempt, folder: Path) -> None:
        """Let the process that outlives this one know of an attempt."""
        if self._watch is not None:
            self._watch.add(attempt, folder, self._url)

    def tell_code_ended(self, attempt_id: str, status: RunStatus, at: int) -> None:
        """Let the process that outlives this one know how the code of an attempt ended, and when in ms."""
        if self._watch is not None:
            self._watch.code_ended(attempt_id, status, at)

    def unwatch(self, attempt_ids: Iterable[str]) -> None:
        """Everything of these attempts is delivered."""
        if self._watch is not None:
            for attempt_id in attempt_ids:
                self._watch.remove(attempt_id)

    def beat(self, store: Store) -> bool:
        """Give a sign of life when it is time, and now and then look for those who no longer do.

        Returns:
            Whether one was given.

        Raises:
            StoreUnavailableError: it could not be given; call again.
        """
        now = time.monotonic()
        due = bool(self._living) and now - self._beat_at >= self._interval
        if due:
            self._leave_silent()
        living = sorted(self._living)
        if due:
            store.heartbeat(living)
            self._beat_at = now
        if living and now >= self._look_at:
            self._look_at = now + self._timeout
            if not self._delivered_left:
                deliver_left(store, self._journals)
                self._delivered_left = True
            end_silent(store, self._timeout, spare=living)
        return due

    def _leave_silent(self) -> None:
        """Give no signs of life for attempts that were left, of which no end was told since the last time either."""
        left = {attempt_id for attempt_id, left in list(self._code_ended.items()) if left()}
        for attempt_id in left & self._silent:
            self.end(attempt_id)
            if self._watch is not None:
                self._watch.leave(attempt_id)
        self._silent = left

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()

    def abandon(self) -> None:
        if self._watch is not None:
            self._watch.abandon()
