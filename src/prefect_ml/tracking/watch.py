"""A small process that outlives this one, and ends the runs that it could not end itself."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import orjson

from prefect_ml.tracking import watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from prefect_ml.entities import Attempt, RunStatus

logger = logging.getLogger(__name__)


class Mourner(NamedTuple):
    """What is run when a process died that left attempts.

    Attributes:
        module: name of a module that reads what was told, as JSON from its standard input.
        facts: what else it must know of an attempt that is told now.
    """

    module: str
    facts: Callable[[], Mapping[str, str]]


_mourners = [Mourner("prefect_ml.tracking.reaper", dict)]


def register_mourner(mourner: Mourner) -> None:
    """Have those that are told from now on mourned by another module."""
    _mourners.append(mourner)


class Watch:
    """The near end of a pipe to the process; closing it, which the system does at any death, wakes that one.

    It costs a start of the bare interpreter and about 8 MB, once for all runs of this process.
    """

    def __init__(self) -> None:
        self._pipe: int | None = None
        self._pid = 0

    def add(self, attempt: Attempt, folder: Path, store_url: str) -> None:
        """Let it know of an attempt; a failure leaves the attempt to the heartbeat."""
        entry = {
            "attempt_id": attempt.attempt_id,
            "run_id": attempt.run_id,
            "folder": str(folder),
            "store_url": store_url,
            "module": _mourners[-1].module,
            **_mourners[-1].facts(),
        }
        try:
            if self._pipe is None:
                self._start()
            self._tell(entry)
        except OSError as error:
            logger.debug("Nobody watches this process: %s", error)
            self.abandon()

    def code_ended(self, attempt_id: str, status: RunStatus, at: int) -> None:
        """Let it know how the code of an attempt ended, and when in ms, should nobody come to tell the run's end."""
        self._tell_if_there({"attempt_id": attempt_id, "code": status, "code_ended_at": str(at)})

    def leave(self, attempt_id: str) -> None:
        """Have an attempt ended whose code ended and about which nobody in this process will tell any more."""
        self._tell_if_there({"attempt_id": attempt_id, "left": "true"})

    def remove(self, attempt_id: str) -> None:
        """Nothing is left to be done for an attempt."""
        self._tell_if_there({"attempt_id": attempt_id})

    def close(self) -> None:
        """At the end of this process: let it do what is left, and do not leave it a zombie when nothing is."""
        if self._pipe is not None:
            self.abandon()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, os.WNOHANG)

    def abandon(self) -> None:
        """Let go of the pipe."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def _start(self) -> None:
        near, far = _pipe()
        try:
            # Isolated and without site-packages: until this process dies it only reads.
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", watchdog.__file__],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, far, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,
            )
        except OSError:
            os.close(near)
            raise
        finally:
            os.close(far)
        self._pipe = near

    def _tell_if_there(self, entry: dict[str, str]) -> None:
        try:
            self._tell(entry)
        except OSError as error:
            logger.debug("The watching process is gone: %s", error)
            self.abandon()

    def _tell(self, entry: dict[str, str]) -> None:
        if self._pipe is not None:
            os.write(self._pipe, orjson.dumps(entry) + b"\n")


def _pipe() -> tuple[int, int]:
    far, near = os.pipe()
    return near, far
