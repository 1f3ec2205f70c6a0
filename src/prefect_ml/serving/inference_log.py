"""Keeping what was asked and answered, as Parquet files among the artifacts, for those who look for drift.

The event loop only puts a sampled request into a bounded queue; a thread decodes, gathers and writes. A request that
finds the queue full is not kept, and counted. A file appears whole or never; what is gathered when the process is
killed is lost, and when it is told to stop is written.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import queue
import random
import threading
import time
from typing import TYPE_CHECKING

from prefect_ml.artifacts.open import open_artifacts
from prefect_ml.errors import ArtifactError
from prefect_ml.serving.held import Held
from prefect_ml.serving.inference_files import Gathered
from prefect_ml.serving.inference_rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from prometheus_client import CollectorRegistry, Counter

    from prefect_ml.artifacts.contract import ArtifactStore
    from prefect_ml.serving.observing import Answered
    from prefect_ml.settings import Settings

_log = logging.getLogger("prefect_ml.serving")
_ANSWERED = 200
_MOST_WAITING = 1000
# Bodies and answers that wait; a few large ones must not hold the memory of a thousand small ones.
_MOST_BYTES = 64 << 20
# Rows that are held while the place of the files is away; the oldest go first.
_MOST_HELD = 10
# Seconds between two complaints in the log.
_SILENCE = 60.0


class InferenceLog:
    """An observer that keeps a sample of the requests that were answered 200.

    Args:
        root: of the files: `<model>/<version>/<day>/<time>-<id>.parquet`.
        sample: share of the requests that are kept, 0 to 1.
        rows: that a file has before it is written.
        seconds: after which it is written with fewer.
        leave_out: names of columns and fields that are not kept.
        patience: seconds that `close` waits for the last files.
    """

    def __init__(
        self,
        root: ArtifactStore,
        *,
        sample: float = 1.0,
        rows: int = 10_000,
        seconds: float = 60.0,
        leave_out: Collection[str] = (),
        patience: float = 20.0,
    ) -> None:
        self._root, self._sample, self._rows, self._seconds = root, sample, rows, seconds
        self._leave_out, self._patience = frozenset(leave_out), patience
        self._queue: queue.Queue[Answered | None] = queue.Queue(_MOST_WAITING)
        self._random = random.Random()  # noqa: S311  a sample is no secret
        self._waiting = Held(_MOST_BYTES)
        self._complained_at = -math.inf
        self._gathered: dict[tuple[str, str], Gathered] = {}
        self._kept: Counter | None = None
        self._dropped: Counter | None = None
        self._thread = threading.Thread(target=self._run, name="prefect-ml-inference-log", daemon=True)
        self._thread.start()

    @classmethod
    def of(cls, settings: Settings, place: str) -> InferenceLog:
        """The log at a place, as the settings want it.

        Raises:
            InvalidInputError: the place cannot be meant.
            ArtifactError: a library that it needs is not installed.
        """
        if importlib.util.find_spec("pyarrow") is None:
            raise ArtifactError('The inference log needs pyarrow: pip install "prefect-ml[drift]".')
        return cls(
            open_artifacts(place),
            sample=settings.inference_log_sample,
            rows=settings.inference_log_rows,
            seconds=settings.inference_log_seconds,
            leave_out=settings.inference_log_leave_out,
            patience=settings.serve_drain,
        )

    def count_in(self, registry: CollectorRegistry) -> None:
        """Count in a registry what is kept and what is dropped."""
        from prometheus_client import Counter  # noqa: PLC0415  after workers have their folder

        self._kept = Counter("prefect_ml_inference_log_rows", "Rows in files of the inference log.", registry=registry)
        self._dropped = Counter(
            "prefect_ml_inference_log_dropped",
            "Sampled requests that the inference log could not keep.",
            ("reason",),
            registry=registry,
        )
        for reason in ("full", "unread", "unwritten"):
            self._dropped.labels(reason)

    def answered(self, request: Answered) -> None:
        if request.status != _ANSWERED or request.replica is None or self._random.random() >= self._sample:
            return
        size = len(request.body) + len(request.answer)
        if not self._waiting.take(size):
            self._drop("full")
            return
        try:
            self._queue.put_nowait(request)
        except queue.Full:
            self._waiting.give_back(size)
            self._drop("full")

    def close(self) -> None:
        deadline = time.monotonic() + self._patience
        try:
            self._queue.put(None, timeout=self._patience)
        except queue.Full:
            _log.warning("The inference log is too far behind to be written to its end.")
            return
        self._thread.join(max(deadline - time.monotonic(), 0))

    def _run(self) -> None:
        while True:
            try:
                request = self._queue.get(timeout=self._until_due())
            except queue.Empty:
                self._write(time.monotonic())
                continue
            if request is None:
                self._write(None)
                return
            try:
                self._gather(request)
            except Exception as error:  # noqa: BLE001  whatever a body holds, the log goes on
                self._complain(request, error)
                self._drop("unread")
            finally:
                self._waiting.give_back(len(request.body) + len(request.answer))
            self._write(time.monotonic())

    def _complain(self, request: Answered, error: Exception) -> None:
        """Once in a while: one client can send many of a kind."""
        if time.monotonic() - self._complained_at >= _SILENCE:
            self._complained_at = time.monotonic()
            _log.warning("Request %s cannot be kept in the inference log: %s", request.request_id, error)

    def _until_due(self) -> float:
        due = min((each.due for each in self._gathered.values()), default=time.monotonic() + self._seconds)
        return max(due - time.monotonic(), 0.01)

    def _gather(self, request: Answered) -> None:
        table = rows_of(request, self._leave_out)
        assert request.replica is not None  # noqa: S101  those without one are not queued
        name, version = request.replica.resolved.name or request.name, request.replica.version
        key = (name, version)
        if key not in self._gathered:
            digest = request.replica.resolved.digest
            self._gathered[key] = Gathered(name, version, digest, time.monotonic() + self._seconds)
        lost = self._gathered[key].add(table, self._rows * _MOST_HELD)
        for _ in range(lost):
            self._drop("unwritten")

    def _write(self, now: float | None) -> None:
        """Write what is full or due by now; all of it when `now` is None."""
        for key, gathered in list(self._gathered.items()):
            if now is not None and gathered.due > now and (gathered.rows < self._rows or gathered.failed):
                continue
            rows = gathered.rows
            try:
                gathered.write(self._root)
            except Exception as error:  # noqa: BLE001  whatever is wrong with the place, the log goes on
                _log.warning("A file of the inference log cannot be written, and is tried again: %s", error)
                gathered.due, gathered.failed = time.monotonic() + self._seconds, True
                if now is None:
                    self._drop("unwritten", gathered.requests)
            else:
                del self._gathered[key]
            if self._kept is not None:
                self._kept.inc(rows - gathered.rows)

    def _drop(self, reason: str, count: int = 1) -> None:
        if self._dropped is not None:
            self._dropped.labels(reason).inc(count)
