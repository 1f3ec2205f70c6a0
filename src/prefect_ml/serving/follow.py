"""Following an alias: when it moves, the new version is loaded beside the old one and takes over."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time

from prefect_ml.errors import PrefectMLError
from prefect_ml.registry.resolve import ResolvedModel, resolve
from prefect_ml.serving.replica import Replica, Served
from prefect_ml.settings import Settings
from prefect_ml.store.contract import Store

log = logging.getLogger(__name__)

# Seconds after which a version that was refused is tried again.
RETRY_AFTER = 30.0


class Follower:
    """A thread that looks at the alias every `serve_poll_interval` seconds.

    The alias's generation is the only truth: a missed event or a restart heals by the next look. While the store cannot
    be reached, or when the new version cannot be loaded or warmed, the old one goes on answering.
    """

    def __init__(self, served: Served, store: Store, settings: Settings) -> None:
        self._served, self._store, self._settings = served, store, settings
        self._stop = threading.Event()
        self._refused: tuple[int, float] | None = None
        self._thread = threading.Thread(target=self._run, name="prefect-ml-follower", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End it; a load that is under way is not waited for."""
        self._stop.set()

    def look(self) -> None:
        """Look once at the alias, and swap when it moved."""
        try:
            wanted = resolve(self._store, self._served.uri)
        except PrefectMLError as error:
            self._note(f"{self._served.uri} cannot be looked up, the loaded version goes on: {error}")
            return
        current = self._served.replica
        if wanted.generation == current.source.generation or self._refused_lately(wanted):
            return
        if wanted.version == current.source.version:
            self._served.swap(dataclasses.replace(current, source=wanted))
            return
        try:
            replica = Replica.load(wanted, self._settings)
        except Exception as error:  # noqa: BLE001 (a model may fail in any way; the old one must go on)
            self._refused = (wanted.generation, time.monotonic())
            self._note(f"Version {wanted.version} is refused, version {current.source.version} goes on: {error}")
            return
        self._served.swap(replica)

    def _refused_lately(self, wanted: ResolvedModel) -> bool:
        if self._refused is None or self._refused[0] != wanted.generation:
            return False
        return time.monotonic() - self._refused[1] < RETRY_AFTER

    def _note(self, what: str) -> None:
        if what != self._served.refused:
            log.error(what)
        self._served.refused = what

    def _run(self) -> None:
        while not self._stop.wait(self._settings.serve_poll_interval):
            self.look()
