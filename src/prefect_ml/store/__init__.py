"""Where runs, models and promotions are kept: the `Store` protocol, in a database or behind a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect_ml.store.contract import Store

__all__ = ["open_store"]


def open_store(url: str | None = None) -> Store:
    """Open the store at a URL, that of the settings by default; a database's schema is brought up to date.

    One store object is shared by all callers of a process.

    Args:
        url: SQLAlchemy URL of a SQLite or PostgreSQL database, or `http://host:5000` of a tracking server, which is
            asked with the token of the setting `server_token` and not before the first call.

    Raises:
        InvalidInputError: the URL is none of these, or a server's with a password in it.
        StoreUnavailableError: the database cannot be reached.
        StoreVersionError: a newer release wrote its schema.
    """
    from prefect_ml.store import open as opening  # noqa: PLC0415  SQLAlchemy is imported when a store is used

    return opening.open_store(url)
