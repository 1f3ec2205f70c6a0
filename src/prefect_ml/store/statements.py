"""Statements that both databases have but SQLAlchemy spells by dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Insert, Table


def upsert(connection: Connection, table: Table, keys: Sequence[str], changed: Sequence[str]) -> Insert:
    """INSERT that overwrites the columns `changed` where `keys` are there already; with none, it changes nothing."""
    statement: Any = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    if not changed:
        return statement.on_conflict_do_nothing(index_elements=list(keys))  # type: ignore[no-any-return]
    overwrite = {name: statement.excluded[name] for name in changed}
    return statement.on_conflict_do_update(index_elements=list(keys), set_=overwrite)  # type: ignore[no-any-return]
