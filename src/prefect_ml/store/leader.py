"""Group commit without a thread of its own, for a process whose threads nobody interrupts."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError

from prefect_ml.errors import WouldWaitError
from prefect_ml.store.driver import BEGUN, driver_of, execute
from prefect_ml.store.writer import GROUP, Outcome, do

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine

T = TypeVar("T")

_NOBODY = 0
_CHOSEN = -1
# Seconds between two looks at a database that another process writes to, at most.
_PAUSE = 0.02


class _Write:
    """A write; one that waits has a lock that is held until it is committed, or until its thread shall commit."""

    __slots__ = ("leads", "outcome", "ready", "work")

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work = work
        self.outcome: Outcome = (None, None)
        self.leads = False
        self.ready: threading.Lock | None = None

    def wait(self) -> None:
        if self.ready is not None:
            self.ready.acquire()

    def go_on(self) -> None:
        if self.ready is not None:
            self.ready.release()


class Leader:
    """Commits all writes that wait, in one transaction, in the thread of the one that came first.

    A write that waits for nobody changes no thread, which halves its cost. What comes in during a commit is committed
    next, by the thread of its first write. A signal or an asynchronous exception in a leading thread would fail the
    writes of others, so this is for a server's request threads; see `Writer` for all others.
    """

    def __init__(self, engine: Engine, patience: float) -> None:
        """Write to the database of an engine, and wait `patience` seconds for other processes that do."""
        self._engine = engine
        self._patience = patience
        self._connection: Connection | None = None
        self._mutex = threading.Lock()
        self._waiting: list[_Write] = []
        self._leader = _NOBODY

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the next transaction, and return its result once that is committed."""
        write = _Write(work)
        with self._mutex:
            self._refuse_nesting()
            self._waiting.append(write)
            if self._leader == _NOBODY:
                self._leader = threading.get_ident()
                write.leads = True
            else:
                write.ready = threading.Lock()
                write.ready.acquire()
        write.wait()
        if write.leads:
            self._lead()
        result, error = write.outcome
        if error is not None:
            raise error
        found: T = result
        return found

    def run_now(self, works: Sequence[Callable[[Connection], Any]]) -> list[Outcome]:
        """Run several in one transaction that begins now, and say what came of each once that is committed.

        Raises:
            WouldWaitError: it would have to wait for another thread or process; nothing is done.
        """
        with self._mutex:
            self._refuse_nesting()
            if self._leader != _NOBODY:
                raise WouldWaitError
            self._leader = threading.get_ident()
        try:
            return self._commit(works, wait=False)
        finally:
            self._step_down()

    def close(self) -> None:
        """Finish what is being written and give the connection back."""
        while True:
            with self._mutex:
                if self._leader == _NOBODY:
                    self._let_go()
                    return
            self.run(lambda _: None)  # returns once what waits now is committed

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _refuse_nesting(self) -> None:
        if self._leader == threading.get_ident():
            raise RuntimeError("A write was started inside a write; pass the connection on instead.")

    def _lead(self) -> None:
        """Commit what waits, this thread's own write among it, and leave the rest to the thread of its first one."""
        with self._mutex:
            self._leader = threading.get_ident()
            group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
        for write, outcome in zip(group, self._outcomes(group), strict=True):
            write.outcome = outcome
        self._step_down()
        for write in group:
            if not write.leads:
                write.go_on()

    def _step_down(self) -> None:
        with self._mutex:
            successor = self._waiting[0] if self._waiting else None
            self._leader = _NOBODY if successor is None else _CHOSEN
        if successor is not None:
            successor.leads = True
            successor.go_on()

    def _outcomes(self, group: list[_Write]) -> list[Outcome]:
        try:
            return self._commit([write.work for write in group])
        except BaseException as error:  # noqa: BLE001  whoever waits for the answer gets it
            return [(None, error)] * len(group)

    def _commit(self, works: Sequence[Callable[[Connection], Any]], *, wait: bool = True) -> list[Outcome]:
        try:
            if self._connection is None:
                self._connection = _own_connection(self._engine)
            self._begin(self._connection, wait=wait)
            return _committed(self._connection, works)
        except DBAPIError:  # by any other error what was refused is rolled back, and the connection is well
            self._let_go()
            raise

    def _begin(self, connection: Connection, *, wait: bool) -> None:
        deadline = time.monotonic() + self._patience
        pause = _PAUSE / 20
        while True:
            try:
                execute(connection, "BEGIN IMMEDIATE", ())
            except OperationalError as error:
                # Also SQLITE_BUSY_RECOVERY, after a crash.
                busy = getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_BUSY")
                if not busy or time.monotonic() > deadline:
                    raise
                if not wait:
                    raise WouldWaitError from error
            else:
                return
            time.sleep(random.uniform(0, pause))  # noqa: S311  spreads tries, hides nothing
            pause = min(pause * 2, _PAUSE)


def _committed(connection: Connection, works: Sequence[Callable[[Connection], Any]]) -> list[Outcome]:
    """What came of writes, in the transaction that the connection's driver has begun, once it is committed.

    SQLAlchemy's own transaction costs more than SQLite's. It begins one beside this when a write goes through it, and
    its end then says nothing more to the driver.
    """
    try:
        outcomes = do(connection, works)
        execute(connection, "COMMIT", ())
    except BaseException:
        driver_of(connection).rollback()
        connection.rollback()
        raise
    if connection.in_transaction():
        connection.commit()
    return outcomes


def _own_connection(engine: Engine) -> Connection:
    """A connection outside the pool that never waits by itself for other processes."""
    connection = engine.connect().execution_options(begin=BEGUN)
    connection.detach()
    connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    connection.rollback()
    return connection
