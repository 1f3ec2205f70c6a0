"""Where runs, models and promotions are kept: the `Store` protocol, in a database or behind a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import SecretStr

    from prefect_ml.store.contract import Store

__all__ = ["open_store"]


def open_store(url: str | None = None, *, artifact_root: str | None = None, token: SecretStr | None = None) -> Store:
    """Open the store at a URL, that of the settings by default; a database's schema is brought up to date.

    One store object is shared by all callers of a process.

    Args:
        url: SQLAlchemy URL of a SQLite or PostgreSQL database, or `http://host:5000` of a tracking server, which is
            asked with a token and not before the first call.
        artifact_root: where a database's new experiments keep their files; the setting `artifact_root` by default.
        token: that a server asks for; the setting `server_token` by default.

    Raises:
        InvalidInputError: the URL is none of these, or a server's with a password in it.
        StoreUnavailableError: the database cannot be reached.
        StoreVersionError: a newer release wrote its schema.
    """
    from prefect_ml.store import open as opening  # noqa: PLC0415  SQLAlchemy is imported when a store is used

    return opening.open_store(url, artifact_root=artifact_root, token=token)
