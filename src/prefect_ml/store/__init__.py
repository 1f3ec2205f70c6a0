"""Where runs, models and promotions are kept: the `Store` protocol and `SqlStore` on SQLite or PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect_ml.store.contract import Store

__all__ = ["open_store"]


def open_store(url: str | None = None) -> Store:
    """Open the store at a SQLAlchemy URL, that of the settings by default, and bring its schema up to date.

    One store object is shared by all callers of a process.

    Raises:
        InvalidInputError: the URL is none of SQLite or PostgreSQL.
        StoreUnavailableError: the database cannot be reached.
        StoreVersionError: a newer release wrote its schema.
    """
    from prefect_ml.store import open as opening  # noqa: PLC0415  SQLAlchemy is imported when a store is used

    return opening.open_store(url)
