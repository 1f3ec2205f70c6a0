"""The thread that carries this process's journals to the store, so that no log call waits for it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from prefect_ml.errors import PrefectMLError, StoreUnavailableError
from prefect_ml.store import open_store
from prefect_ml.tracking.console import outlasting_console
from prefect_ml.tracking.outbox import Outbox, deliver_folder, deliver_start, remove_if_empty
from prefect_ml.tracking.place import place_of
from prefect_ml.tracking.pulse import Pulse
from prefect_ml.tracking.records import leave_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prefect_ml.entities import Attempt, RunStatus
    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store
    from prefect_ml.tracking.journal import JournalWriter

logger = logging.getLogger(__name__)

_LONGEST_PAUSE = 30.0
# A journal that is delivered and was not written to for so long gives its file and descriptor back.
_IDLE = 60.0


class Delivery:
    """Delivers to one store; its daemon thread lives from the first journal on.

    Args:
        settings: where the store and the journals are, and how often to look at them.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.resolved_store_url
        self._place = place_of(self._url)
        self._interval = settings.flush_interval
        self._pulse = Pulse(settings)
        self._changed = threading.Condition()
        self._store: Store | None = None
        self._thread: threading.Thread | None = None
        self._open: dict[JournalWriter, Outbox] = {}
        # Of other processes' runs, whose start is in the store.
        self._begun: set[JournalWriter] = set()
        self._jobs: list[Callable[[], None]] = []
        self._later: list[Callable[[Store | None], None]] = []
        self._ended: dict[Path, set[str]] = {}
        self._asked = 0
        self._answered = 0
        self._waiting = 0
        self._away = self._broken = self._asking = False
        self._failures = 0

    @property
    def store(self) -> Store:
        return open_store(self._url)

    @property
    def stuck(self) -> str:
        """Why it is in vain to ask the store now, "" when it is not."""
        if self._away:
            return "The store is away; try again when it is back."
        return "The store has not answered in time; try again later." if self._asking else ""

    def watch(self, writer: JournalWriter) -> None:
        """Deliver what is written to a journal from now on."""
        outbox = Outbox(writer.path, start=0)
        with self._changed:
            self._open[writer] = outbox
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="prefect-ml-delivery", daemon=True)
                self._thread.start()

    def begin(self, attempt: Attempt, folder: Path) -> None:
        """Let others know from now on that an attempt lives, or that it died.

        Args:
            attempt: of a run.
            folder: where the journals of the run are.
        """
        self._pulse.begin(attempt.attempt_id)
        self.soon(lambda: self._pulse.watch(attempt, folder))

    def code_ended(self, attempt_id: str, status: RunStatus, at: int, left: Callable[[], bool]) -> None:
        """Know how the code of an attempt ended, should nobody come to tell how its run did.

        Args:
            attempt_id: the attempt.
            status: how.
            at: when, in ms.
            left: whether nobody in this process will tell it any more.
        """
        self._pulse.code_ended(attempt_id, left)
        self.soon(lambda: self._pulse.tell_code_ended(attempt_id, status, at))

    def soon(self, job: Callable[[], None]) -> None:
        """Run a job in the thread before anything else is delivered."""
        with self._changed:
            self._jobs.append(job)

    def later(self, job: Callable[[Store | None], None]) -> None:
        """Run a job in the thread after what is recorded is delivered and nobody waits; without a store if it is away.

        A flush does not wait for it, the next one does.
        """
        with self._changed:
            self._later.append(job)

    def end(self, folder: Path, attempt_id: str = "") -> None:
        """Deliver and remove also what other processes left in the folder of a run that has ended."""
        self._pulse.end(attempt_id)
        with self._changed:
            self._ended.setdefault(folder, set()).add(attempt_id)

    def forget(self, attempt_id: str) -> None:
        """Another attempt has followed this one, whose end is recorded."""
        self._pulse.end(attempt_id)
        self.soon(lambda: self._pulse.unwatch([attempt_id]))

    def flush(self, timeout: float, *, patient: bool = True) -> bool:
        """Wait until all that was recorded before is in the store; whether it is.

        Args:
            timeout: seconds to wait at most.
            patient: whether to go on waiting when the store cannot be reached.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            if not (self._open or self._ended or self._jobs or self._later):
                return True
            if self._thread is None:  # no journal could be opened, so nothing ever will be delivered
                return False
            self._asked += 1
            ticket, failures = self._asked, self._failures
            self._changed.notify_all()
            self._waiting += 1
            try:
                while self._answered < ticket:
                    left = deadline - time.monotonic()
                    in_vain = self._failures > failures and not (patient and self._away)
                    if left <= 0 or in_vain:
                        return False
                    self._changed.wait(left)
                return True
            finally:
                self._waiting -= 1

    def close(self, timeout: float) -> None:
        """Close all journals and deliver them, at the end of the process."""
        self.flush(timeout, patient=False)
        with self._changed:
            writers = list(self._open)
        for writer in writers:
            with contextlib.suppress(OSError):  # without space for a word of farewell the run counts as died
                writer.append(leave_record(), last=True)
            writer.close()
        if not self.flush(timeout, patient=not self._away):
            logger.warning("Not all records reached the store; `prefect-ml sync` delivers them later.")
        self._pulse.close()

    def abandon(self) -> None:
        """In a forked child, where the thread does not exist: let go of the parent's files."""
        self._pulse.abandon()
        for writer, outbox in self._open.items():
            outbox.close()
            writer.abandon()

    def _work(self) -> None:
        pause, tried = self._interval, 0
        while True:
            with self._changed:
                while self._asked == tried and not (self._open or self._ended):
                    self._changed.wait()
                if self._asked == tried:
                    self._changed.wait(pause)
                tried = self._asked
            done, self._asking = False, True
            with outlasting_console():
                done = self._round()
            self._asking = False
            with self._changed:
                if done:
                    self._answered, pause = tried, self._interval
                else:
                    self._failures += 1
                    pause = self._interval if self._waiting else min(pause * 2, _LONGEST_PAUSE)
                self._changed.notify_all()
            with outlasting_console():
                self._do_later()

    def _do_later(self) -> None:
        with self._changed:
            jobs = list(self._later)
        for job in jobs:
            job(self._store)
        with self._changed:
            del self._later[: len(jobs)]

    def _round(self) -> bool:
        """Whether everything that is there was delivered."""
        try:
            done = self._deliver()
        except StoreUnavailableError as error:
            self._store = None
            if not self._away:
                logger.warning("The store is away; records stay in the journal until it is back. %s", error)
            self._away = True
            return False
        except Exception:  # the thread must outlive whatever a store does
            self._store = None
            if not self._broken:
                logger.exception("Delivery failed; records stay in the journal, and it is tried again.")
            self._away, self._broken = False, True
            return False
        self._away = self._broken = False
        return done

    def _deliver(self) -> bool:
        self._do_jobs()
        # Opening asks for a lock that another store which is away may hold for long.
        store = self._store = self._store or self.store
        with self._changed:
            journals, ended = list(self._open.items()), sorted(self._ended)
        alive = self._pulse.beat(store)
        done = True
        for writer, outbox in journals:
            if alive:
                writer.touch()
            done &= self._deliver_one(store, writer, outbox)
        # A run that began meanwhile is in the store now, so whoever outlives this process must know of it as well.
        self._do_jobs()
        for folder in ended:
            # A process that recorded there and still lives may record more.
            if all(report.finished for report in deliver_folder(store, folder)):
                with self._changed:
                    attempts = self._ended.pop(folder, set())
                self._pulse.unwatch(attempts)
        return done

    def _do_jobs(self) -> None:
        while True:
            with self._changed:
                if not self._jobs:
                    return
                job = self._jobs.pop(0)  # one that fails is not tried again, and the others are
            job()

    def _deliver_one(self, store: Store, writer: JournalWriter, outbox: Outbox) -> bool:
        closed, end = writer.close_if_idle(_IDLE), writer.end
        try:
            if not writer.holds_start and writer not in self._begun:
                deliver_start(store, writer.path.parent, place=self._place)
                self._begun.add(writer)
            outbox.deliver(store, end)
        except StoreUnavailableError:
            raise
        except PrefectMLError as error:
            if not outbox.complained:
                outbox.complained = True
                logger.warning("The journal %s cannot be delivered and is kept: %s", writer.path, error)
            return False
        if closed:
            self._let_go(writer, outbox)
        return True

    def _let_go(self, writer: JournalWriter, outbox: Outbox) -> None:
        outbox.finish()
        outbox.close()
        self._begun.discard(writer)
        with self._changed:
            del self._open[writer]
        remove_if_empty(writer.path.parent)


class Offline:
    """Stands where a delivery would: records stay in their journals until `prefect-ml sync` delivers them."""

    def __init__(self) -> None:
        self._open: set[JournalWriter] = set()

    stuck = ""

    @property
    def store(self) -> Store:
        raise StoreUnavailableError("PREFECT_ML_OFFLINE is set; unset it, or read the store after `prefect-ml sync`.")

    def watch(self, writer: JournalWriter) -> None:
        self._open = {known for known in self._open if not known.closed} | {writer}

    def begin(self, attempt: Attempt, folder: Path) -> None:
        """Nobody can be told that it lives."""

    def code_ended(self, attempt_id: str, status: RunStatus, at: int, left: Callable[[], bool]) -> None:
        """Nobody can be told."""

    def soon(self, job: Callable[[], None]) -> None:
        """Left to the end of the run."""

    def later(self, job: Callable[[Store | None], None]) -> None:
        """There is no store."""
        job(None)

    def end(self, folder: Path, attempt_id: str = "") -> None:
        """Left to `prefect-ml sync`."""

    def forget(self, attempt_id: str) -> None:
        """Nobody was told that it lives."""

    def flush(self, timeout: float, *, patient: bool = True) -> bool:  # noqa: ARG002 - the shape of Delivery's
        """All that can be done is done."""
        return True

    def close(self, timeout: float) -> None:  # noqa: ARG002 - the shape of Delivery's
        """Close all journals, at the end of the process."""
        for writer in self._open:
            with contextlib.suppress(OSError):
                writer.append(leave_record(), last=True)
            writer.close()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's files."""
        for writer in self._open:
            writer.abandon()
