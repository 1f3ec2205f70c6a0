"""The rows of a query of somebody's database, some at a time.

It is no database of ours: nothing is written to it, and its schema is nobody's business here. It lies in this room
because SQLAlchemy does.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from prefect_ml.errors import InvalidInputError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What `text` would take for a parameter; a query has none.
_PARAMETER = re.compile(r":(?=\w)")


@contextmanager
def query_rows(url: str, query: str, rows: int) -> Iterator[tuple[list[str], Iterator[Sequence[Sequence[Any]]]]]:
    """The names of a query's columns, and its rows in batches; memory does not grow with their number.

    Args:
        url: SQLAlchemy URL with its password; it is in no message.
        query: one SELECT; give it an ORDER BY, or the rows come in another order the next time.
        rows: in a batch.

    Raises:
        InvalidInputError: the URL or the query is refused.
        StoreUnavailableError: the database cannot be reached.
    """
    try:
        engine = create_engine(make_url(url), poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise InvalidInputError(
            f"The database's URL cannot be used ({type(error).__name__}): give SQLAlchemy's, and install its driver."
        ) from None
    try:
        with engine.connect().execution_options(stream_results=True, yield_per=rows) as connection:
            result = connection.execute(text(_PARAMETER.sub(r"\\:", query)))
            if not result.returns_rows:
                raise InvalidInputError("The query gives no rows: write a SELECT.")
            yield list(result.keys()), (partition for partition in result.partitions(rows))
    except DBAPIError as error:
        if error.connection_invalidated or (type(error).__name__ == "OperationalError" and error.statement is None):
            raise StoreUnavailableError(f"The database cannot be reached: {error.orig}") from error
        raise InvalidInputError(f"The database refuses the query: {error.orig}") from error
    except SQLAlchemyError as error:
        raise InvalidInputError(f"The query cannot be run: {error}") from error
    finally:
        engine.dispose()
