"""Group commit: the one thread that writes to a SQLite file, so that waiting writes share a transaction."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import OperationalError

from prefect_ml.store.driver import execute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine

T = TypeVar("T")
Job = tuple["Callable[[Connection], Any]", "Future[Any]"]

# What a write gave, or how it failed.
Outcome = tuple[Any, "BaseException | None"]

# So many writes share a transaction at most; more would make the first ones wait too long.
GROUP = 256


class Writer:
    """Runs writes one after the other in a thread of its own, and commits all that wait at once.

    Each write has a savepoint, so one that fails takes nothing of the others with it. A write is answered
    after the commit of its transaction.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"prefect-ml-writer {name}", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> Future[T] | None:
        """Have `work` run in the next transaction, and its result once that is committed; None when closed."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("A write was started inside a write; pass the connection on instead.")
        answer: Future[T] = Future()
        with self._changed:
            if self._closed:
                return None
            self._waiting.append((work, answer))
            self._changed.notify()
        return answer

    def close(self) -> None:
        """Finish what waits and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._take():
            answers = self._commit(jobs)
            for (_, answer), (result, error) in zip(jobs, answers, strict=True):
                if error is None:
                    answer.set_result(result)
                else:
                    answer.set_exception(error)

    def _take(self) -> list[Job]:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            jobs, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
            return jobs

    def _commit(self, jobs: Sequence[Job]) -> list[Outcome]:
        """The result or error of each job, after they are committed together."""
        try:
            with self._engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection:
                return commit(connection, [work for work, _ in jobs])
        except BaseException as error:  # noqa: BLE001  whoever waits for the answer gets it
            return [(None, error)] * len(jobs)


def commit(connection: Connection, works: Sequence[Callable[[Connection], Any]]) -> list[Outcome]:
    """Do writes in one transaction of a connection, and say what came of each once it is committed."""
    try:
        with connection.begin():
            return do(connection, works)
    except BaseException as error:  # noqa: BLE001  whoever waits for the answer gets it
        return [(None, error)] * len(works)


def do(connection: Connection, works: Sequence[Callable[[Connection], Any]]) -> list[Outcome]:
    """Do writes in the transaction of a connection; of several, each may fail by itself."""
    if len(works) == 1:
        return [(works[0](connection), None)]
    return [_in_savepoint(connection, work) for work in works]


def _in_savepoint(connection: Connection, work: Callable[[Connection], Any]) -> Outcome:
    execute(connection, "SAVEPOINT job", ())
    try:
        result = work(connection)
    except BaseException as error:  # noqa: BLE001  whoever waits for the answer gets it
        try:
            execute(connection, "ROLLBACK TO job", ())
        except OperationalError:
            # SQLite itself has rolled back everything, as it does on a full disk.
            raise error from None
        execute(connection, "RELEASE job", ())
        return None, error
    execute(connection, "RELEASE job", ())
    return result, None
