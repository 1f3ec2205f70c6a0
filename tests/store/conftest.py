"""A real store on each database, empty for every test, that gives all its connections back.

Migrating takes longer than most tests do, so it is done once a session for each database and then copied;
`test_database.py` and `test_processes.py` migrate for real.
"""

from __future__ import annotations

import shutil
import uuid

import pytest

from prefect_ml.store import open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path):
    """The URL of an empty database."""
    if request.param == "sqlite":
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
    """The name of a PostgreSQL database with all tables."""
    name = f"migrated_{uuid.uuid4().hex}"
    _on_server(postgres_server, f'CREATE DATABASE "{name}"')
    open_store(_url(postgres_server, name)).close()
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    """An empty store."""
    if request.param == "sqlite":
        path = tmp_path / "store.db"
        shutil.copyfile(request.getfixturevalue("migrated_file"), path)
        yield from _opened(f"sqlite:///{path}")
        return
    server = request.getfixturevalue("postgres_server")
    name = f"test_{uuid.uuid4().hex}"
    template = request.getfixturevalue("migrated_database")
    _on_server(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield from _opened(_url(server, name))
    _on_server(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _opened(url):
    opened = open_store(url)
    yield opened
    assert opened.database.checked_out == 0, "a connection is left checked out"
    opened.close()


def _url(server, name):
    return server.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")


def _on_server(server, statement):
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)
