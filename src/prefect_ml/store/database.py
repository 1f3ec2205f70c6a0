"""The database below the store: how to read from it, how to write to it, and what its failures are called."""

from __future__ import annotations

import functools
import os
import random
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from prefect_ml.errors import InvalidInputError, StoreUnavailableError, WouldWaitError
from prefect_ml.store.driver import BEGUN
from prefect_ml.store.leader import Leader
from prefect_ml.store.writer import Outcome, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

# Seconds that a write waits for another process's, and for a free connection of the pool.
_PATIENCE = 30
# serialization_failure and deadlock_detected: the transaction did nothing and may run again.
_RETRIED_STATES = frozenset({"40001", "40P01"})
_ATTEMPTS = 20

# What a forked child inherited stays referenced for ever: closing a connection there would cut the parent's.
_inherited: list[object] = []


class Database:
    """A SQLite file or PostgreSQL database, shared by the threads of a process; a forked child may use it too.

    Args:
        url: SQLAlchemy URL; `postgresql:` means `postgresql+psycopg:`.
        synchronous: SQLite's PRAGMA of that name, "NORMAL" or "FULL".
        uninterrupted: whether no signal and no asynchronous exception reaches the threads that write, as in a server;
            then they commit to SQLite by themselves, which is faster than a thread of its own.

    Attributes:
        url: where it is, without the password.
        dialect: "sqlite" or "postgresql".
        closed: whether `close` was called; a closed one still works and opens connections anew.

    Raises:
        InvalidInputError: the URL is none that a store can be kept at.
        StoreUnavailableError: the SQLite file's folder cannot be made.
    """

    def __init__(self, url: str, synchronous: str = "NORMAL", *, uninterrupted: bool = False) -> None:
        self._url = _checked(url)
        self.url = _shown(self._url)
        self.dialect = self._url.get_backend_name()
        self.closed = False
        self._synchronous = synchronous
        self._uninterrupted = uninterrupted
        self._joined = threading.local()
        self._pid = 0
        self._lock: threading.Lock
        self._writer: Writer | Leader | None
        self._engine: Engine
        self._start()

    def __repr__(self) -> str:
        return f"Database({self.url!r})"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one unchanging snapshot for as long as the context lasts."""
        if (joined := self._joined_connection) is not None:
            yield joined
            return
        with self._named_failures(), self._reading().connect() as connection, connection.begin():
            yield connection

    def write(self, work: Callable[[Connection], T], *, serializable: bool = False) -> T:
        """Run `work` in one transaction and return its result once that is committed.

        `work` may run more than once, so it changes only the database. When it raises, nothing is kept.

        Args:
            work: gets the connection; starts no write of its own.
            serializable: whether PostgreSQL must act as if transactions ran one after the other (SQLite's do).

        Raises:
            StoreUnavailableError: the database cannot be reached, or stayed locked for 30 seconds.
        """
        if (joined := self._joined_connection) is not None:
            if serializable:
                raise RuntimeError("A serializable write cannot join a transaction that is not.")
            if self._joined.alone:
                return work(joined)
            with joined.begin_nested():
                return work(joined)
        with self._named_failures():
            if self.dialect == "sqlite":
                return self._write_in_group(work)
            return self._write_with_retries(work, serializable=serializable)

    @contextmanager
    def joined(self, connection: Connection) -> Iterator[None]:
        """Within, what this thread reads and writes is part of the transaction of a connection.

        A write that raises undoes what it did itself. Failures of the database are not named before the outer write
        has seen them, which may have to be run again.
        """
        self._joined.connection, self._joined.alone = connection, False
        try:
            yield
        finally:
            self._joined.connection = None

    def at_once(self, calls: Sequence[Callable[[], Any]]) -> list[Outcome]:
        """What comes of each of several calls, once all that they wrote is committed together.

        An event loop may do that by itself, which costs less than the way to another thread and back. A call that
        fails takes nothing of the others with it.

        Raises:
            WouldWaitError: a write would have to wait for another thread or process; nothing is done. A database
                behind a network is always waited for.
        """
        if self.dialect != "sqlite" or not self._uninterrupted:
            raise WouldWaitError
        writer = self._writing()
        if not isinstance(writer, Leader):
            raise WouldWaitError
        works = [functools.partial(self._alone, call) for call in calls]
        try:
            outcomes = writer.run_now(works)
        except WouldWaitError:
            raise
        except Exception as error:  # noqa: BLE001  each of those who asked is told
            outcomes = [(None, error)] * len(works)
        return [(result, error and self._named(error)) for result, error in outcomes]

    def _alone(self, call: Callable[[], T], connection: Connection) -> T:
        """The result of a call whose writes, all together, have their own savepoint or transaction."""
        self._joined.connection, self._joined.alone = connection, True
        try:
            return call()
        finally:
            self._joined.connection = None

    def _named(self, error: BaseException) -> BaseException:
        try:
            with self._named_failures():
                raise error  # noqa: TRY301  so that it is named in one place
        except BaseException as named:  # noqa: BLE001  it is told to whoever asked
            return named

    @contextmanager
    def bare(self) -> Iterator[Any]:
        """The driver's own connection, outside any transaction."""
        with self._named_failures():
            connection = self._reading().raw_connection()
            try:
                yield connection
            finally:
                connection.close()

    def close(self) -> None:
        """Finish what is being written and give all connections back. Idempotent."""
        self.closed = True
        if os.getpid() != self._pid:
            return
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        self._engine.dispose()

    @property
    def checked_out(self) -> int:
        """How many connections are in use now."""
        return self._engine.pool.checkedout()  # type: ignore[attr-defined, no-any-return]  # QueuePool has it

    @property
    def _joined_connection(self) -> Connection | None:
        return getattr(self._joined, "connection", None)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._writer = None
        self._engine = _engine(self._url, self._synchronous)
        event.listen(self._engine, "checkin", self._given_back)
        self._pid = os.getpid()

    def _given_back(self, _: object, record: ConnectionPoolEntry) -> None:
        """Close what comes back after the close, such as from a thread that was at work: nobody would close it."""
        if self.closed:
            record.invalidate()

    def _reading(self) -> Engine:
        if os.getpid() != self._pid:
            _inherited.append((self._engine, self._writer))
            self._start()
        return self._engine

    def _write_in_group(self, work: Callable[[Connection], T]) -> T:
        while True:
            writer = self._writing()
            if isinstance(writer, Leader):
                return writer.run(work)
            # Another thread may close the writer between the two steps; then there is a new one.
            if (answer := writer.submit(work)) is not None:
                return answer.result()

    def _writing(self) -> Writer | Leader:
        engine = self._reading()
        with self._lock:
            if self._writer is None:
                name = Path(self._url.database or "").name
                self._writer = Leader(engine, _PATIENCE) if self._uninterrupted else Writer(engine, name)
            return self._writer

    def _write_with_retries(self, work: Callable[[Connection], T], *, serializable: bool) -> T:
        level = "SERIALIZABLE" if serializable else "READ COMMITTED"
        for attempt in range(_ATTEMPTS):
            try:
                with self._reading().connect() as connection:
                    connection.execution_options(isolation_level=level, postgresql_readonly=False)
                    with connection.begin():
                        return work(connection)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _RETRIED_STATES or attempt == _ATTEMPTS - 1:
                    raise
            time.sleep(random.uniform(0, 0.01 * (attempt + 1)))  # noqa: S311  spreads retries, hides nothing
        raise AssertionError("unreachable: the last attempt returns or raises")

    @contextmanager
    def _named_failures(self) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            raise InvalidInputError(f"The store cannot take or look for this value: {_first_line(error)}.") from error
        except (IntegrityError, ProgrammingError):
            raise
        except PoolTimeoutError as error:
            raise StoreUnavailableError(
                f"No connection to the store at {self.url} came free within {_PATIENCE} seconds. "
                "Use fewer threads at once, and try again."
            ) from error
        except DatabaseError as error:
            raise StoreUnavailableError(
                f"The store at {self.url} cannot be used now: {_first_line(error)}. "
                "Check that the database is there and has room, and try again."
            ) from error


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidInputError(
            "The store URL is no SQLAlchemy URL; write 'sqlite:////folder/store.db' or "
            "'postgresql://user:password@host/database'."
        ) from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == backend else parsed
    if backend != "sqlite":
        raise InvalidInputError(f"A store cannot be kept in {backend!r}; use a sqlite: or postgresql: URL.")
    if not parsed.database or ":memory:" in parsed.database or parsed.database.startswith("file:"):
        raise InvalidInputError("A store is kept in a file that stays; give its path: sqlite:////folder/store.db.")
    # Absolute, so that a change of the working directory does not move the store.
    return parsed.set(database=str(Path(parsed.database).expanduser().absolute()))


def _shown(url: URL) -> str:
    """The URL without any password, also not one among the driver's options."""
    secret = [name for name in url.query if "pass" in name.lower()]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def _first_line(error: DBAPIError) -> str:
    lines = str(error.orig).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error.orig).__name__


def _make_file(path: Path) -> None:
    """Make the file of a new store and its folder, for the owner alone."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only a new file: closing one that is in use would drop the locks that SQLite holds on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise StoreUnavailableError(f"{path} is no file; give the store another place.") from None
    except OSError as error:
        raise StoreUnavailableError(
            f"The store cannot be made at {path}: {error.strerror}. Check its folder, or give another place."
        ) from error


def _engine(url: URL, synchronous: str) -> Engine:
    options: dict[str, Any] = {"hide_parameters": True, "pool_timeout": _PATIENCE, "max_overflow": 40}
    if url.get_backend_name() == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "pool_pre_ping": True}
        engine = create_engine(url, connect_args={"connect_timeout": 10}, **options)
        engine.update_execution_options(postgresql_readonly=True)
        return engine
    _make_file(Path(url.database or ""))
    engine = create_engine(url, connect_args={"timeout": _PATIENCE, "check_same_thread": False}, **options)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, where their kind is known
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA cache_size = -32000")
        connection.execute("PRAGMA temp_store = MEMORY")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if (statement := connection.get_execution_options().get("begin", "BEGIN")) != BEGUN:
            connection.exec_driver_sql(statement)

    return engine
