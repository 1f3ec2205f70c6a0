"""System metrics of this process's runs, from one thread that lives while there are any."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_ml.tracking.capture.readings import Readings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

# Runs that are over by then pay nothing and get nothing.
_SHORT = 1.0


@dataclass(slots=True)
class _Watched:
    record: Callable[[Mapping[str, float], int], None]
    interval: float
    since: float
    due: float
    samples: int = 0

    def add(self, values: Mapping[str, float]) -> None:
        self.record(values, self.samples)
        self.samples += 1


class Sampler:
    """Samples for the runs of one process; its daemon thread ends when there is none left."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[str, _Watched] = {}
        self._thread: threading.Thread | None = None
        self._readings: Readings | None = None
        self._missing = False

    def watch(self, run_id: str, interval: float, record: Callable[[Mapping[str, float], int], None]) -> None:
        """Sample for a run from now on.

        Args:
            run_id: the run.
            interval: seconds between two samples.
            record: takes the metrics by name, and the number of the sample from 0.
        """
        if self._missing:
            return
        now = time.monotonic()
        with self._changed:
            self._watched[run_id] = _Watched(record, interval, now, now + interval)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="prefect-ml-system", daemon=True)
                self._thread.start()
            elif self._readings is not None:
                self._changed.notify_all()

    def leave(self, run_id: str) -> None:
        """Stop sampling for a run; one that was too short for a sample gets its only one now."""
        with self._changed:
            watched = self._watched.pop(run_id, None)
            readings = self._readings
            if watched is None or time.monotonic() - watched.since < _SHORT:
                return
            self._changed.notify_all()
        if readings is not None and not watched.samples and not self._missing:
            try:
                with _reading:
                    values = readings.take()
                watched.add(values)
            except Exception:  # the run ends, whatever the machine's counters do
                logger.warning("The system metrics of this run are not recorded.", exc_info=True)

    def _work(self) -> None:
        try:
            self._sample_while_watched()
        except ImportError as error:
            logger.debug("System metrics are not recorded: %s; pip install 'prefect-ml[system]'.", error)
            self._missing = True
        except Exception:  # training goes on, whatever the machine's counters do
            logger.warning("System metrics are no longer recorded in this process.", exc_info=True)
            self._missing = True

    def _sample_while_watched(self) -> None:
        self._wait_until(time.monotonic() + _SHORT)
        while self._continues():
            if self._readings is None:
                with _reading:
                    self._readings = Readings()
            self._wait_until(min((watched.due for watched in self._all()), default=0.0))
            if any(watched.due <= time.monotonic() for watched in self._all()):
                with _reading:
                    values = self._readings.take()
                self._sample(values)

    def _sample(self, values: Mapping[str, float]) -> None:
        with self._changed:
            now = time.monotonic()
            for watched in self._watched.values():
                if watched.due <= now:
                    watched.add(values)
                    watched.due = now + watched.interval

    def _continues(self) -> bool:
        """Whether there is a run; when there is none, the next one starts another thread."""
        with self._changed:
            if not self._watched:
                self._thread = None
            return self._thread is not None

    def _all(self) -> list[_Watched]:
        with self._changed:
            return list(self._watched.values())

    def _wait_until(self, when: float) -> None:
        with self._changed:
            if (left := when - time.monotonic()) > 0:
                self._changed.wait(left)


_sampler = Sampler()
# Held while psutil is imported and asked, so that no forked child inherits a lock of theirs that nobody gives back.
_reading = threading.Lock()
_held: list[bool] = []


def sampler() -> Sampler:
    """The one of this process."""
    return _sampler


def _before_fork() -> None:
    _held.append(_reading.acquire(timeout=_SHORT))


def _after_fork() -> None:
    if _held.pop():
        _reading.release()


def _in_forked_child() -> None:
    global _sampler, _reading
    _held.clear()
    _sampler, _reading = Sampler(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_forked_child)
