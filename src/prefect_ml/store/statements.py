"""Statements that both databases have but SQLAlchemy spells by dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import BindParameter, Connection, Insert, Table, Update


def upsert(connection: Connection, table: Table, keys: Sequence[str], changed: Sequence[str]) -> Insert:
    """INSERT that overwrites the columns `changed` where `keys` are there already; with none, it changes nothing."""
    statement: Any = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    if not changed:
        return statement.on_conflict_do_nothing(index_elements=list(keys))  # type: ignore[no-any-return]
    overwrite = {name: statement.excluded[name] for name in changed}
    return statement.on_conflict_do_update(index_elements=list(keys), set_=overwrite)  # type: ignore[no-any-return]


class Together:
    """Statements of one change that neither read nor write what another of them writes, in any order.

    PostgreSQL gets them as one, so that there is one way to it and back; SQLite has no way. They are made once: to make
    a statement costs as much as to execute it.

    Args:
        parts: by name; each takes parameters whose names begin with that of the part and an underscore.
    """

    def __init__(self, **parts: Insert | Update) -> None:
        self._parts = parts
        (*others, last) = parts.items()
        self._whole = last[1].add_cte(*[part.cte(name) for name, part in others])

    def execute(self, connection: Connection, **given: Mapping[str, Any]) -> None:
        """Execute all of them, with the parameters of each."""
        named = {part: {f"{part}_{name}": value for name, value in values.items()} for part, values in given.items()}
        if connection.dialect.name == "postgresql":
            connection.execute(self._whole, {name: value for part in named.values() for name, value in part.items()})
            return
        for name, part in self._parts.items():
            connection.execute(part, named[name])


def values_of(part: str, names: Iterable[str]) -> dict[str, BindParameter[Any]]:
    """What columns of these names are set to in a part of `Together`."""
    return {name: bindparam(f"{part}_{name}") for name in names}
