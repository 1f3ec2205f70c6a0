"""A real store on each database and behind a server, empty for every test, that gives all its connections back.

Migrating takes longer than most tests do, so it is done once a session for each database and then copied;
`test_database.py` and `test_processes.py` migrate for real. Starting a server takes longer too: one of the session
listens, and serves the store of the test that runs.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import uuid

import psycopg
import pytest
import uvicorn

from prefect_ml.artifacts import open_artifacts
from prefect_ml.http.listener import listening, url_of
from prefect_ml.protocol.backend import Backend
from prefect_ml.server.app import build_app
from prefect_ml.settings import Settings
from prefect_ml.store import open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request):
    """A database."""
    return request.param


@pytest.fixture(params=["sqlite", "postgresql", "http"])
def place(request):
    """A database, or a server."""
    return request.param


@pytest.fixture
def empty_url(request, backend, tmp_path):
    """The URL of a database without tables."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path / 'store' / 'store.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory):
    """A SQLite file with all tables."""
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def migrated_database(postgres_server):
    """The URL of a PostgreSQL database with all tables, and what makes it hold what a new one holds."""
    from sqlalchemy import select

    from prefect_ml.store.database import Database
    from prefect_ml.store.tables import metadata

    name = f"migrated_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    url = postgres_server.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")
    store = open_store(url)
    with store.database.read() as connection:
        found = {table: connection.execute(select(table)).mappings().all() for table in metadata.sorted_tables}
    store.close()
    rows = {table: [dict(row) for row in each] for table, each in found.items()}
    with contextlib.closing(Database(url)) as database:
        yield url, lambda: database.write(lambda connection: _renew(connection, rows))


@pytest.fixture
def sqlite_url(migrated_file, tmp_path):
    """The URL of a SQLite store that holds what a new one holds."""
    path = tmp_path / "store.db"
    shutil.copyfile(migrated_file, path)
    return f"sqlite:///{path}"


@pytest.fixture
def store_url(request, place):
    """The URL of a store that holds what a new one holds."""
    if place == "sqlite":
        return request.getfixturevalue("sqlite_url")
    if place == "http":
        return request.getfixturevalue("served_url")[0]
    url, renew = request.getfixturevalue("migrated_database")
    renew()
    return url


@pytest.fixture
def store(request, place, store_url):
    """The store at `store_url`; its `database` is for those who look behind it."""
    opened = open_store(store_url)
    if place == "http":
        opened.database = request.getfixturevalue("served_url")[1].database
    yield opened
    assert opened.database.checked_out == 0, "a connection is left checked out"
    opened.close()


@pytest.fixture
def served_url(listening_server, sqlite_url, tmp_path):
    """The URL of a server and the store that it serves, which holds what a new one holds."""
    with contextlib.closing(open_store(sqlite_url)) as store, listening_server.serving(store, tmp_path):
        yield listening_server.url, store


class ListeningServer:
    """uvicorn on a free port of loopback, in a thread; what it serves can be exchanged."""

    def __init__(self) -> None:
        self._app = None
        self._open = contextlib.ExitStack()

    def __enter__(self):
        listener = self._open.enter_context(listening("127.0.0.1", 0, guarded=False, setting=""))
        self.url = url_of(listener)
        self._server = uvicorn.Server(
            uvicorn.Config(self._ask, interface="asgi3", log_config=None, lifespan="off", proxy_headers=False)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join()
        self._open.close()

    @contextlib.contextmanager
    def serving(self, store, folder):
        self._app = build_app(Backend(store, open_artifacts(str(folder / "artifacts"))), Settings())
        yield
        self._app = None

    async def _ask(self, scope, receive, send) -> None:
        await self._app(scope, receive, send)


@pytest.fixture(scope="session")
def listening_server():
    with ListeningServer() as server:
        yield server


def _renew(connection, rows):
    """Make a database hold what a new one holds.

    TRUNCATE makes new files for each table and index, which takes twenty times as long as to delete a few rows.
    """
    # The audit log refuses it, whose triggers are off in this transaction; a test may have turned them off for good.
    connection.exec_driver_sql("ALTER TABLE audit ENABLE TRIGGER USER")
    connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
    connection.exec_driver_sql(";".join(f"DELETE FROM {table.name}" for table in rows))  # noqa: S608  our tables
    connection.exec_driver_sql(
        "SELECT setval(format('%%I.%%I', schemaname, sequencename)::regclass, start_value, false) FROM pg_sequences"
    )
    for table, found in rows.items():
        if found:
            connection.execute(table.insert(), found)
