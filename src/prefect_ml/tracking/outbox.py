"""One journal on its way to the store, exactly once: the store itself keeps how far it has come."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from prefect_ml.entities import JournalSpan, RunStatus
from prefect_ml.errors import CorruptArtifactError, InactiveError, JournalOffsetError, NotFoundError
from prefect_ml.tracking.journal import SUFFIX, JournalReader, remove_if_abandoned
from prefect_ml.tracking.records import batches, died, is_start, sources_of
from prefect_ml.tracking.staged import deliver_staged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from prefect_ml.entities import Rejection, Source
    from prefect_ml.store.contract import Store

logger = logging.getLogger(__name__)

REJECTED_TAG = "prefect_ml.rejected"
_MAX_TAG = 5000


@dataclass(frozen=True, slots=True)
class JournalReport:
    """What became of one journal.

    Attributes:
        run_id: the run that it is about, "" when its first bytes are damaged.
        journal_id: its name.
        records: how many records were delivered now.
        bad_bytes: how many bytes at its end are damaged or cut off, 0 while its writer lives.
        finished: whether it is wholly delivered and its writer is gone.
    """

    run_id: str
    journal_id: str
    records: int
    bad_bytes: int
    finished: bool


class Outbox:
    """Delivers one journal file, from where the store stands.

    Raises:
        FileNotFoundError: the journal is gone.
        CorruptArtifactError: its first bytes are damaged.
    """

    def __init__(self, path: Path, *, start: int | None = None) -> None:
        self._reader = JournalReader(path)
        self._start = start
        self._sources: dict[int, Source] | None = {} if start == 0 else None
        self.complained = False
        self._refused: list[str] = []

    @property
    def place(self) -> str:
        """The store that it was recorded for."""
        return self._reader.place

    @property
    def size(self) -> int:
        """Of the file now, in bytes; that of a living writer ends with empty space."""
        return self._reader.size

    def close(self) -> None:
        self._reader.close()

    def deliver(self, store: Store, until: int | None = None) -> int:
        """Deliver all that is there and return how many records that were.

        Args:
            store: where to.
            until: offset in bytes beyond which nothing has to be delivered now. Without it, this does not return
                while records come faster than they are taken.

        Raises:
            StoreUnavailableError: nothing is lost; call again.
        """
        reader, count = self._reader, 0
        if self._start is None:
            self._start = store.journal_offset(reader.journal_id)
        if self._sources is None:
            self._sources = sources_of(reader.all()) if self._start else {}
        while until is None or self._start < until:
            records, end = reader.read(self._start)
            if not records:
                break
            span = JournalSpan(reader.journal_id, self._start, end)
            try:
                rejections = store.apply_journal(span, batches(reader.run_id, records, self._sources))
            except JournalOffsetError as error:
                if error.expected == self._start:
                    raise
                self._start = error.expected
                continue
            self._start = end
            count += len(records)
            self._report(store, rejections)
        return count

    def finish(self, store: Store | None = None) -> JournalReport:
        """Remove the file when it is wholly delivered and its writer is gone; called after `deliver`.

        Args:
            store: where the run is marked KILLED when the process that started it died before it ended.
        """
        reader, end = self._reader, self._start or 0
        bad = reader.bad_bytes(end)
        gone = remove_if_abandoned(reader.path, end, None if store is None else lambda left: _mark_killed(store, left))
        finished = gone and not (reader.path.exists() and reader.read(end)[0])
        if finished and bad:
            logger.warning(
                "The journal %s of run %s has %d damaged bytes; everything before them is delivered. "
                "Its bytes are kept beside it with the suffix .damaged.",
                reader.path, reader.run_id, bad,
            )  # fmt: skip
        return JournalReport(reader.run_id, reader.journal_id, 0, bad if gone else 0, finished)

    def _report(self, store: Store, rejections: Sequence[Rejection]) -> None:
        if not rejections:
            return
        run_id = self._reader.run_id
        for rejection in rejections:
            logger.warning("Run %s: %s was refused: %s", run_id, rejection.what, rejection.reason)
        self._refused += [f"{rejection.what}: {rejection.reason}" for rejection in rejections]
        text = orjson.dumps(self._refused).decode()
        try:
            store.log_batch(run_id, tags={REJECTED_TAG: text[:_MAX_TAG]})
        except (NotFoundError, InactiveError) as error:
            logger.warning("Run %s cannot be marked with what was refused: %s", run_id, error)


def _mark_killed(store: Store, reader: JournalReader) -> None:
    """End the attempt whose process died without a word."""
    dead = died(reader.run_id, reader.all())
    if dead is None:
        return
    # A mapped file's time of change is not that of the last record.
    ended = max(int(reader.path.stat().st_mtime * 1000), dead.last_time)
    try:
        if store.presume_ended(reader.run_id, dead.attempt.attempt_id, RunStatus.KILLED, ended):
            logger.warning("Run %s is marked KILLED: its process died before it ended.", reader.run_id)
    except NotFoundError as error:
        logger.debug("Run %s is not marked: %s", reader.run_id, error)


def deliver_file(
    store: Store, path: Path, *, place: str | None = None, level: int = logging.WARNING, mark: bool = True
) -> JournalReport | None:
    """Deliver one journal of any process and remove it when that is right; None when it is gone already.

    Args:
        store: where to.
        path: the journal.
        place: leave it alone when it was recorded for a store at another place; None delivers in any case.
        level: of the message that it is left alone.
        mark: whether to end the attempt whose process died.
    """
    try:
        outbox = Outbox(path)
    except FileNotFoundError:
        return None
    except CorruptArtifactError as error:
        size = path.stat().st_size
        path.rename(path.with_suffix(".damaged"))
        logger.warning("%s It is kept beside the others with the suffix .damaged.", error)
        return JournalReport("", path.stem, 0, size, finished=True)
    try:
        if place is not None and outbox.place not in ("", place):
            logger.log(
                level,
                "The journal %s was recorded for the store %s, not for %s; set PREFECT_ML_STORE_URL to that one "
                "to deliver it.",
                path, outbox.place, place,
            )  # fmt: skip
            return JournalReport(path.parent.name, path.stem, 0, 0, finished=False)
        count = outbox.deliver(store, outbox.size)
        report = outbox.finish(store if mark else None)
    finally:
        outbox.close()
    return JournalReport(report.run_id, report.journal_id, count, report.bad_bytes, report.finished)


def deliver_folder(
    store: Store, folder: Path, *, place: str | None = None, level: int = logging.WARNING, mark: bool = True
) -> list[JournalReport]:
    """Deliver all journals and waiting artifacts of one run, and remove its folder when it is empty."""
    found = [
        deliver_file(store, path, place=place, level=level, mark=mark) for path in sorted(folder.glob(f"*{SUFFIX}"))
    ]
    if all(report is None or report.finished for report in found):
        deliver_staged(store, folder)
    remove_if_empty(folder)
    return [report for report in found if report is not None]


def deliver_start(store: Store, folder: Path, *, place: str) -> None:
    """Have a run in the store as its starter recorded it, before what another process records of it.

    Args:
        store: where to.
        folder: of the run's journals.
        place: of the store, as journals name it.

    Raises:
        StoreUnavailableError: call again.
    """
    try:
        store.get_run(folder.name)
    except NotFoundError:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if _holds_start(path):
                deliver_file(store, path, place=place, level=logging.DEBUG, mark=False)


def _holds_start(path: Path) -> bool:
    try:
        with JournalReader(path) as reader:
            return any(is_start(record) for record in reader.read(0)[0])
    except (FileNotFoundError, CorruptArtifactError):
        return False


def remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        logger.debug("The journal folder %s stays: %s", folder, error)
