"""Several processes that serve on one listening socket, each replaced when it dies.

They are forked from a process that runs no thread and has loaded what all need, so that a worker is ready soon and
shares that with the others. What they need to know reaches them through memory, never through a command line.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError, PrefectMLError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkProcess

_log = logging.getLogger("prefect_ml.http")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Seconds until a worker is replaced that ended before it served, or soon after; the pause doubles until one lasts.
_PAUSE = 1.0
# Seconds of serving after which a worker has lasted; the first that has not is replaced at once all the same.
_LASTING = 10.0
_LONGEST_PAUSE = 30.0
# Seconds beyond the drain after which a worker that does not end is killed.
_GRACE = 5.0


class WorkersFailedError(PrefectMLError):
    """The workers did not come to serve."""


class Workers:
    """Runs a number of workers until SIGTERM or SIGINT, then has all of them drain.

    Args:
        count: how many.
        serve: what a worker does; it calls its argument when it serves, and returns when it was told to stop.
        drain: seconds that a worker may take to end.
        ended: called with the process id of each worker that has died.

    Raises:
        InvalidInputError: this system cannot fork.
    """

    def __init__(
        self,
        count: int,
        serve: Callable[[Callable[[], None]], None],
        *,
        drain: float,
        ended: Callable[[int], None],
    ) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            raise InvalidInputError("Several workers need a system that can fork processes; use --workers 1 here.")
        self._count = count
        self._serve = serve
        self._drain = drain
        self._ended = ended
        self._fork = multiprocessing.get_context("fork")
        self._alive: dict[int, ForkProcess] = {}
        self._due: list[float] = [0.0] * count
        self._told, self._tell = os.pipe()
        self._ready: dict[int, float] = {}
        self._stopping = False
        self._pause: float | None = None

    def run(self, listener: socket.socket, announce: Callable[[], None]) -> None:
        """Start all, call `announce` once when all serve, and return when all have drained.

        Args:
            listener: the socket that they accept from; closed here when they are told to stop.
            announce: tells that the server serves.

        Raises:
            WorkersFailedError: one ended before all served.
        """
        awake, wake = socket.socketpair()
        wake.setblocking(False)
        before = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        before_fd = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # what is loaded stays shared: the collector of a worker would write to every page of it
        try:
            self._run(awake, announce)
        finally:
            listener.close()
            self._end_all()
            gc.unfreeze()
            signal.set_wakeup_fd(before_fd)
            for number, previous in before.items():
                signal.signal(number, previous)
            for end in (awake, wake):
                end.close()

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _run(self, awake: socket.socket, announce: Callable[[], None]) -> None:
        announced = False
        while not self._stopping:
            self._start_due(announced=announced)
            sentinels = {process.sentinel: process for process in self._alive.values()}
            pause = max(0.0, min(self._due) - time.monotonic()) if self._due else None
            for event in wait([*sentinels, awake, self._told], pause):
                if event is awake:
                    awake.recv(64)
                elif event == self._told:
                    self._note_ready()
                else:
                    self._note_death(sentinels[event], announced=announced)  # type: ignore[index]
            if not announced and len(self._ready) == self._count:
                announced = True
                announce()

    def _start_due(self, *, announced: bool) -> None:
        now = time.monotonic()
        due = [at for at in self._due if at <= now]
        self._due = [at for at in self._due if at > now]
        for _ in due:
            # A signal that came between the fork and the worker's own way with signals would be lost in it.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            process = self._fork.Process(target=self._work, args=(blocked,), name="prefect-ml-worker")
            try:
                process.start()
                self._alive[process.pid or 0] = process
            except OSError as error:
                if not announced:
                    raise
                _log.error("No worker can be started now, which is tried again: %s", error)
                self._due.append(time.monotonic() + _PAUSE)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _work(self, blocked: set[signal.Signals]) -> None:
        """What a worker does, from its fork to its end."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        try:
            self._serve(lambda: _tell(self._tell, os.getpid()))
        except PrefectMLError as error:
            _log.error("%s", error)
            sys.exit(1)

    def _note_ready(self) -> None:
        told = os.read(self._told, 4096)
        pids = (int.from_bytes(told[at : at + 4], "little") for at in range(0, len(told), 4))
        self._ready |= {pid: time.monotonic() for pid in pids if pid in self._alive}

    def _note_death(self, process: ForkProcess, *, announced: bool) -> None:
        process.join()
        pid = process.pid or 0
        del self._alive[pid]
        since = self._ready.pop(pid, None)
        self._ended(pid)
        if self._stopping:
            return
        if not announced:
            raise WorkersFailedError(f"A worker ended with {process.exitcode} before it served; its log says why.")
        _log.error("Worker %d ended with %s; another takes its place.", pid, process.exitcode)
        now = time.monotonic()
        if since is not None and now - since >= _LASTING:
            self._pause = None
        elif since is not None and self._pause is None:
            self._pause = 0.0
        else:
            self._pause = min(max(_PAUSE, 2 * (self._pause or 0.0)), _LONGEST_PAUSE)
        self._due.append(now + (self._pause or 0.0))

    def _end_all(self) -> None:
        for process in self._alive.values():
            process.terminate()
        deadline = time.monotonic() + self._drain + _GRACE
        for pid, process in self._alive.items():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                _log.error("Worker %d did not end in time; it is killed.", pid)
                process.kill()
                process.join()
            self._ended(pid)
        self._alive.clear()


def _tell(pipe: int, pid: int) -> None:
    os.write(pipe, pid.to_bytes(4, "little"))
