"""A real store on each database, empty for every test, that gives all its connections back.

Migrating takes longer than most tests do, so it is done once a session for each database and then copied;
`test_database.py` and `test_processes.py` migrate for real.
"""

from __future__ import annotations

import shutil
import uuid

import psycopg
import pytest

from prefect_ml.store import open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request):
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
    """The URL of a PostgreSQL database with all tables, and what it holds when it is new."""
    from sqlalchemy import select

    from prefect_ml.store.tables import metadata

    name = f"migrated_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    url = postgres_server.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")
    store = open_store(url)
    with store.database.read() as connection:
        rows = {table: connection.execute(select(table)).mappings().all() for table in metadata.sorted_tables}
    store.close()
    return url, {table: [dict(row) for row in found] for table, found in rows.items()}


@pytest.fixture
def store_url(request, backend, tmp_path):
    """The URL of a store that holds what a new one holds."""
    if backend == "sqlite":
        path = tmp_path / "store.db"
        shutil.copyfile(request.getfixturevalue("migrated_file"), path)
        return f"sqlite:///{path}"
    url, rows = request.getfixturevalue("migrated_database")
    store = open_store(url)
    store.database.write(lambda connection: _renew(connection, rows))
    store.close()
    return url


@pytest.fixture
def store(store_url):
    """The store at `store_url`."""
    opened = open_store(store_url)
    yield opened
    assert opened.database.checked_out == 0, "a connection is left checked out"
    opened.close()


def _renew(connection, rows):
    """Make a database hold what a new one holds."""
    names = ", ".join(table.name for table in rows)
    connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
    for table, found in rows.items():
        if found:
            connection.execute(table.insert(), found)
