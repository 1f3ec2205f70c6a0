"""Where this process records a run: a journal, opened at the first record, and what is known of params."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import threading
import uuid
import weakref
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.entities import RunEnd, RunStatus, Source
from prefect_ml.errors import NotFoundError, ParamConflictError, StoreUnavailableError
from prefect_ml.settings import Settings
from prefect_ml.tracking import records
from prefect_ml.tracking.asking import Asking
from prefect_ml.tracking.attribution import UNKNOWN, source_of
from prefect_ml.tracking.capture import Found
from prefect_ml.tracking.console import outlasting_console
from prefect_ml.tracking.delivery import Delivery, Offline
from prefect_ml.tracking.journal import JournalWriter
from prefect_ml.tracking.outbox import deliver_start
from prefect_ml.tracking.place import place_of
from prefect_ml.tracking.records import metrics_record
from prefect_ml.tracking.staged import keep_found
from prefect_ml.tracking.values import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from prefect_ml.entities import Attempt, Run, RunStart
    from prefect_ml.store.contract import Store
    from prefect_ml.tracking.capture import Capture

logger = logging.getLogger(__name__)

# MLflow's tag, by which its tools list the models of a run.
MODELS_TAG = "mlflow.log-model.history"
# How many records, and artifacts, could neither be kept nor wait. The processes of a run add up; those that did not
# start it have a suffix of their own.
MISSING_TAG = "prefect_ml.missing_records"
MISSING_ARTIFACTS_TAG = "prefect_ml.missing_artifacts"
_MAX_TAG = 5000


class Outlet:
    """Records one run in this process.

    Args:
        run_id: the run.
        settings: where journals and store are, and how long to wait for them.
        delivery: what carries the journal away.

    Attributes:
        forked: whether it belongs to the process that this one was forked from, so that nothing may be recorded here.
    """

    def __init__(self, run_id: str, settings: Settings, delivery: Delivery | Offline) -> None:
        self.run_id = run_id
        _outlets.add(self)
        self.forked = False
        self.delivery = delivery
        self.settings = settings
        self.flush_timeout = settings.flush_timeout
        self.attempt: Attempt | None = None
        self.experiment: str | None = None
        self._code_ended_at: int | None = None
        self.params: dict[str, str] = {}
        self._place = place_of(settings.resolved_store_url)
        self._folder: Path = settings.journal_folder
        self._writer: JournalWriter | None = None
        self._lock = threading.Lock()
        self._tags_lock = threading.Lock()
        self._capture: Capture | None = None
        self._captured = False
        self.asking = Asking()
        self._missing = {MISSING_TAG: 0, MISSING_ARTIFACTS_TAG: 0}
        self._told_missing: dict[str, int] = {}
        self._suffix = f".{uuid.uuid4().hex[:8]}"
        self._warned = False
        self._unwritten: bytes | None = None
        self._sources: dict[Source, int] = {UNKNOWN: 0}
        self._named: dict[int, Source] = {}
        self._numbers = itertools.count(1)
        self._artifact_uri: str | None = None
        self._models: list[Mapping[str, Any]] = []

    @property
    def folder(self) -> Path:
        """Where all processes keep the journals of this run."""
        return self._folder / self.run_id

    @property
    def store(self) -> Store:
        """The store that the run is delivered to."""
        return self.delivery.store

    def get_run(self) -> Run:
        """The run as it is in the store, all that this process recorded included.

        Raises:
            StoreUnavailableError: the store is away, or so slow that the start of the run is not there yet.
        """
        delivered = self.flush(patient=False)
        if not delivered and (stuck := self.delivery.stuck):
            raise StoreUnavailableError(stuck)
        try:
            return self.store.get_run(self.run_id)
        except NotFoundError as error:
            if not delivered:
                raise StoreUnavailableError(
                    f"The start of run {self.run_id} has not reached the store yet; try again when it has."
                ) from error
            # The process that started it may not have delivered that yet.
            deliver_start(self.store, self.folder, place=self._place)
            return self.store.get_run(self.run_id)

    @property
    def artifact_uri(self) -> str:
        """Root of the run's artifacts; raises as `get_run`."""
        if self._artifact_uri is None:
            self._artifact_uri = self.get_run().artifact_uri
        return self._artifact_uri

    @property
    def idle(self) -> bool:
        """Whether all is delivered and the journal was closed since."""
        return self._writer is not None and self._writer.closed

    def record(self, record: bytes, *, last: bool = False) -> None:
        """Append to the journal; when the disk is full, count what is missing and go on."""
        try:
            if self._unwritten is not None:
                self._write_start(self._unwritten, last=last)
            writer = self._writer
            if writer is None or not writer.append(record, last=last):
                self._append_anew(record, last=last)
            if self._warned:
                self.tell_missing(last=last)
        except OSError as error:
            self._missing[MISSING_TAG] += 1
            if not self._warned:
                self._warned = True
                with outlasting_console():
                    logger.warning(
                        "Run %s cannot be recorded in %s (%s); the program goes on, and records are missing "
                        "until that is cured. The run's tag %r will say how many.",
                        self.run_id, self._folder, error.strerror, MISSING_TAG,
                    )  # fmt: skip

    def lose_artifact(self) -> None:
        """Count an artifact that could neither be kept nor wait."""
        self._missing[MISSING_ARTIFACTS_TAG] += 1
        self._warned = True

    def tell_missing(self, *, last: bool = False) -> None:
        """Record how much is missing, as far as that is not recorded already and there is room for it."""
        suffix = "" if self.attempt is not None and self.attempt.number == 1 else self._suffix
        counted = {f"{tag}{suffix}": count for tag, count in self._missing.items() if count}
        if counted != self._told_missing:
            record = records.tags_record({tag: str(count) for tag, count in counted.items()})
            with contextlib.suppress(OSError):  # told with the next record that finds room
                if self._writer is None or not self._writer.append(record, last=last):
                    self._append_anew(record, last=last)
                self._told_missing = counted

    @property
    def source(self) -> int:
        """The number in the journal of what records here now."""
        source = source_of(self.run_id)
        if source is UNKNOWN:
            return 0
        number = self._sources.get(source)
        return self._new_source(source) if number is None else number

    def name(self, kind: str, names: Sequence[str]) -> None:
        """Record that what records here now has kept things of a kind under these names."""
        if source := self.source:
            self.record(records.names_record(kind, names, source))

    def begin(self, start: RunStart, capture: Capture) -> None:
        """Record that this process starts the run, or continues it.

        Args:
            start: what is known now.
            capture: finds out the rest, in the background and at the end.
        """
        # Without room it is kept, and written before whatever finds room first: it names the run.
        self._unwritten = records.start_record(start)
        with contextlib.suppress(OSError):
            self._write_start(self._unwritten)
        if self.attempt is not None and start.attempt != self.attempt:
            self._end_earlier(self.attempt)
        self._capture, self._captured = capture, False
        self.attempt, self.experiment = start.attempt, start.experiment
        if start.attempt is not None:
            self.delivery.begin(start.attempt, self.folder)
        capture.begin(self.run_id, lambda values, step: self.record(metrics_record(values, step, now_ms())))
        self.delivery.soon(self._keep_found)

    def set_params(self, values: Mapping[str, str]) -> None:
        """Record params; refuses all of them when one has another value already."""
        with self._lock:
            for key, value in values.items():
                known = self.params.get(key, value)
                if known != value:
                    raise ParamConflictError(
                        f"The param {key!r} is {known!r} already and cannot become {value!r}; params never "
                        "change. Log it under another name, or as a tag or metric."
                    )
            self.params |= values
        self.record(records.params_record(values, self.source))

    def code_ended(self, status: RunStatus, left: Callable[[], bool]) -> None:
        """Know how the attempt's code ended now; how the run ends is told by `end`, unless nobody comes to do so.

        Args:
            status: how.
            left: whether nobody in this process will do so any more.
        """
        self._code_ended_at = now_ms()
        if self.attempt is not None:
            self.delivery.code_ended(self.attempt.attempt_id, status, self._code_ended_at, left)

    def end(self, status: RunStatus, end_time: int, number: int = 0) -> None:
        """Record the end, and have everything delivered that any process recorded of this run.

        Args:
            status: how; SCHEDULED when the run is suspended.
            end_time: when, in ms.
            number: of the attempt that ended, when another process started it.
        """
        self._keep_found(last=True)
        self.tell_missing(last=True)
        attempt = self.attempt
        end = (
            RunEnd(status, end_time, attempt.attempt_id, attempt.number)
            if attempt
            else RunEnd(status, end_time, "", number)
        )
        self.record(records.end_record(end), last=True)
        if self._writer is not None:
            self._writer.close()
        self.delivery.end(self.folder, end.attempt_id)

    def _end_earlier(self, attempt: Attempt) -> None:
        """Record that an attempt was followed by another one in this process, which is so because it failed."""
        end = RunEnd(RunStatus.FAILED, self._code_ended_at or now_ms(), attempt.attempt_id, attempt.number)
        self.record(records.end_record(end))
        self._code_ended_at = None
        self.delivery.forget(attempt.attempt_id)

    def add_model(self, entry: Mapping[str, Any]) -> None:
        """Record that a model was kept, in the tag by which MLflow's tools list the models of a run."""
        with self._lock:
            self._models.append(entry)
            text = orjson.dumps(self._models).decode()
            if len(text) > _MAX_TAG:
                text = orjson.dumps([{**model, "flavors": {}} for model in self._models]).decode()
        if len(text) <= _MAX_TAG:
            self.record(records.tags_record({MODELS_TAG: text}))
        self.name("model", [entry["artifact_path"]])

    def flush(self, timeout: float | None = None, *, patient: bool = True) -> bool:
        """Wait until what was recorded so far is in the store; whether it is."""
        return self.delivery.flush(self.flush_timeout if timeout is None else timeout, patient=patient)

    def _keep_found(self, *, last: bool = False) -> None:
        """Keep what capture finds; nobody waits for the files of it."""
        with self._tags_lock:
            if self._capture is None:
                return
            found = Found() if self._captured else self._capture.at_start()
            self._captured = True
            if last:
                found |= self._capture.at_end()
                self._capture = None
            if found.tags:
                self.record(records.tags_record(found.tags))
            if found.files:
                self.delivery.later(lambda store: keep_found(self.folder, found.files, store))

    def _write_start(self, start: bytes, *, last: bool = False) -> None:
        if self._writer is None or not self._writer.append(start, last=last):
            self._append_anew(start, last=last)
        self._unwritten = None
        if self._writer is not None:
            self._writer.holds_start = True

    def _new_source(self, source: Source) -> int:
        number = next(self._numbers)
        # Every journal names it before anything there refers to it: this one now, later ones when they are opened.
        self._named[number] = source
        self.record(records.source_record(number, source))
        return self._sources.setdefault(source, number)

    def _append_anew(self, record: bytes, *, last: bool) -> None:
        with self._lock:
            # Another thread may have opened the next journal meanwhile.
            if self._writer is not None and self._writer.append(record, last=last):
                return
            writer = JournalWriter(self._folder, self.run_id, self._place)
            try:
                for number, source in list(self._named.items()):
                    writer.append(records.source_record(number, source))
                writer.append(record, last=last)
            except OSError:
                writer.remove()
                raise
            self._writer = writer
        self.delivery.watch(writer)


# Those of this process and of those that it was forked from, whoever still holds them.
_outlets: weakref.WeakSet[Outlet] = weakref.WeakSet()


class _Process:
    """What this process records; a forked child starts with nothing."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.outlets: dict[str, Outlet] = {}
        self.deliveries: dict[str, Delivery | Offline] = {}


_process = _Process()


def outlet_of(run_id: str) -> Outlet:
    """The outlet of a run in this process; the settings are read when it is made."""
    found = _process.outlets.get(run_id)
    return _new_outlet(run_id) if found is None else found


def forget(outlet: Outlet) -> None:
    """Let an outlet go whose run has ended; another one is made when the run is continued."""
    with _process.lock:
        if _process.outlets.get(outlet.run_id) is outlet:
            del _process.outlets[outlet.run_id]


def _new_outlet(run_id: str) -> Outlet:
    settings = Settings()
    url = "" if settings.offline else settings.resolved_store_url
    with _process.lock:
        if (found := _process.outlets.get(run_id)) is not None:
            return found
        for idle in [outlet for outlet in _process.outlets.values() if outlet.idle]:
            del _process.outlets[idle.run_id]
        if (delivery := _process.deliveries.get(url)) is None:
            delivery = _process.deliveries[url] = Delivery(settings) if url else Offline()
        made = _process.outlets[run_id] = Outlet(run_id, settings, delivery)
        return made


def flush_all(timeout: float | None = None) -> bool:
    """Wait until everything that this process recorded is in its stores, or one is away; whether it is."""
    with _process.lock:
        deliveries = list(_process.deliveries.values())
    seconds = Settings().flush_timeout if timeout is None else timeout
    # One whose store is away keeps no other from delivering: each is asked.
    flushed = [delivery.flush(seconds, patient=False) for delivery in deliveries]
    return all(flushed)


def _at_exit() -> None:
    timeout = Settings().flush_timeout
    for outlet in list(_process.outlets.values()):
        outlet.tell_missing(last=True)
    for delivery in list(_process.deliveries.values()):
        delivery.close(timeout)


def _in_forked_child() -> None:
    global _process  # noqa: PLW0603 - the one place where a process begins
    for delivery in _process.deliveries.values():
        delivery.abandon()
    for outlet in _outlets:
        outlet.forked = True
    _process = _Process()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
