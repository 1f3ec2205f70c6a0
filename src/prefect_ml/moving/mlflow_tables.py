"""MLflow's tables as a database has them: releases since 1.0 differ in which columns and tables there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Column,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    MetaData,
    QueuePool,
    Table,
    create_engine,
    event,
    inspect,
    literal,
    make_url,
    null,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from prefect_ml.errors import InvalidInputError, StoreUnavailableError

_NEEDED = frozenset({"alembic_version", "experiments", "runs", "metrics", "params", "tags"})


class MlflowTables:
    """The tables of a database, read only.

    Args:
        url: SQLAlchemy URL of a SQLite file or a PostgreSQL database.

    Attributes:
        url: without the password.
        folder: the folder of a SQLite file; None for PostgreSQL.
        there: names of the tables.

    Raises:
        InvalidInputError: the URL names no database of MLflow's.
        StoreUnavailableError: it cannot be reached.
    """

    def __init__(self, url: str) -> None:
        parsed = _checked(url)
        self.url = parsed.render_as_string(hide_password=True)
        self.folder = Path(str(parsed.database)).parent if parsed.get_backend_name() == "sqlite" else None
        self._engine = _engine(parsed)
        with self._named_failures():
            columns = inspect(self._engine).get_multi_columns()
        metadata = MetaData()
        # Only what is selected from is of interest: neither keys nor indexes are read.
        self._tables: dict[str, Table] = {
            name: Table(name, metadata, *(Column(column["name"], column["type"]) for column in found))
            for (_, name), found in columns.items()
        }
        self.there = frozenset(self._tables)
        if _NEEDED - self.there or "run_uuid" not in self._tables["runs"].c:
            self._engine.dispose()
            raise InvalidInputError(
                f"The database {self.url} is none of MLflow's: it does not have its tables. Give the URL that "
                "`mlflow server --backend-store-uri` has."
            )

    def close(self) -> None:
        self._engine.dispose()

    def __getitem__(self, name: str) -> FromClause:
        return self._tables[name]

    def column(self, table: str, name: str, default: Any = None) -> ColumnElement[Any]:
        """A column, or its default under its name where this release of MLflow has none."""
        columns = self._tables[table].c
        if name in columns:
            return columns[name]
        return (null() if default is None else literal(default)).label(name)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection in a transaction that sees one state of the database."""
        with self._named_failures(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _named_failures(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, SQLAlchemyError) as error:
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()
            reason = cause[0].rstrip(".") if cause else type(error).__name__
            raise StoreUnavailableError(
                f"The database {self.url} cannot be read now: {reason}. Check that it is there, and run the import "
                "again: it goes on where it was."
            ) from error


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidInputError(
            "The URL of MLflow's database looks like sqlite:////folder/mlflow.db or postgresql://user@host/database."
        ) from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise InvalidInputError(
            f"MLflow's database cannot be read from {backend!r}; start `mlflow server` on it, and give that "
            "server's URL."
        )
    path = Path(parsed.database or "")
    if not path.is_file():
        raise InvalidInputError(f"There is no file {str(path)!r}; give the path of MLflow's SQLite database.")
    return parsed.set(database=str(path.absolute()))


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        engine = create_engine(url, hide_parameters=True, isolation_level="REPEATABLE READ", max_overflow=40)
        engine.update_execution_options(postgresql_readonly=True)
        return engine
    place = f"file:{quote(str(url.database))}?mode=ro"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(place, uri=True, timeout=30, check_same_thread=False, isolation_level=None)

    engine = create_engine("sqlite://", creator=connect, hide_parameters=True, poolclass=QueuePool, max_overflow=40)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine
