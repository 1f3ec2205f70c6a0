"""Which replica answers now, and the thread that follows an alias to its next version."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_ml.registry.resolve import resolve
from prefect_ml.serving.memory import Leaving
from prefect_ml.serving.refused import Refused
from prefect_ml.serving.replica import load_replica

if TYPE_CHECKING:
    from prefect_ml.registry.resolve import ResolvedModel
    from prefect_ml.serving.replica import Replica
    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store

_log = logging.getLogger("prefect_ml.serving")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the newest version is not served, or the store not followed; `at` is in ms since the epoch."""

    message: str
    at: int
    version: int | None = None


class Served:
    """The replica that answers. A request takes `current` once and keeps it until it is answered.

    So a swap is one assignment: requests in flight finish on the old replica, which is dropped with the last of them.
    """

    def __init__(self, replica: Replica) -> None:
        self.current = replica
        self.refused: Problem | None = None
        self.unreachable: Problem | None = None

    def health(self) -> dict[str, Any]:
        """What is served, and what stands in the way of something newer."""
        replica, problem = self.current, self.refused or self.unreachable
        return {
            "status": "ok",
            "model_uri": replica.resolved.uri,
            "model": replica.resolved.name,
            "version": replica.resolved.version,
            "alias": replica.resolved.alias,
            "generation": replica.resolved.generation,
            "digest": replica.resolved.digest,
            "loaded_at": replica.loaded_at,
            "error": problem and problem.message,
            "error_at": problem and problem.at,
            "refused_version": problem and problem.version,
        }


class Follower:
    """Looks every `serve_poll_interval` seconds at what a URI means and brings the served replica there.

    A version that cannot be loaded or warmed is refused: the old one goes on, the log and `health()` say why, and it is
    tried again after a delay that doubles up to a minute, or at once when the alias moves.
    """

    def __init__(self, served: Served, store: Store, settings: Settings) -> None:
        self._served = served
        self._store = store
        self._settings = settings
        self._uri = served.current.resolved.uri
        self._refused = Refused(settings.serve_poll_interval)
        self._leaving = Leaving()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefect-ml-follow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop following; waits up to 5 s for a version that is being loaded."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.wait(self._settings.serve_poll_interval):
            self._look()
            self._leaving.look()

    def _look(self) -> None:
        try:
            wanted = resolve(self._store, self._uri)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the store, serving goes on
            self._note_unreachable(error)
            return
        if self._served.unreachable is not None:
            _log.info("The store answers again about %s.", self._uri)
            self._served.unreachable = None
        if wanted == self._served.current.resolved:
            self._served.refused = None
            self._refused.clear()
        elif self._refused.may_try(wanted):
            self._take_over(wanted)

    def _take_over(self, wanted: ResolvedModel) -> None:
        old = self._served.current
        try:
            same = (wanted.version, wanted.digest) == (old.resolved.version, old.resolved.digest)
            replica = old.again_as(wanted) if same and wanted.digest else load_replica(wanted, self._settings)
        except Exception as error:  # noqa: BLE001 - a model may fail in any way, and the old one must go on
            self._refuse(wanted, error)
            return
        self._served.current = replica
        self._served.refused = None
        self._refused.clear()
        _log.info(
            "%s is now version %s (generation %d); it was version %s.",
            self._uri,
            replica.version,
            wanted.generation,
            old.version,
        )
        if replica.model is not old.model:
            self._leaving.add(old.model)

    def _refuse(self, wanted: ResolvedModel, error: Exception) -> None:
        news = self._refused.note(wanted)
        goes_on = self._served.current.version
        message = f"Version {wanted.version} is refused, version {goes_on} of {wanted.name} goes on: {error}"
        self._served.refused = Problem(message, moment(), wanted.version)
        _log.error("%s", message, exc_info=error if news else None)

    def _note_unreachable(self, error: Exception) -> None:
        message = f"{self._uri} cannot be looked up, version {self._served.current.version} goes on: {error}"
        if self._served.unreachable is None:
            _log.error("%s", message)
        self._served.unreachable = Problem(message, moment())


def moment() -> int:
    """The time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
