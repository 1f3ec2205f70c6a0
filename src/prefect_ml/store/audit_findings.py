"""What was found where records and the audit log differ, in words that name the record.

Here memory grows with the log; it is looked for only when something is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, Select, Table, literal, select

from prefect_ml.errors import TamperedError
from prefect_ml.store.audit_told import UNTOLD, Entry
from prefect_ml.store.endpoint_tables import endpoint_revisions
from prefect_ml.store.registry_tables import alias_moves, audit, policies, promotion_decisions, promotion_requests

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BLOCK = 1000
_LONGEST_SHOWN = 80
_SINGULAR = {
    "aliases": "alias",
    "alias_moves": "move of an alias",
    "policies": "policy",
    "promotion_requests": "promotion request",
    "promotion_decisions": "decision",
    "endpoint_revisions": "revision of an endpoint",
}
ADVICE = (
    "Someone wrote to the database by other means: see the record's history with prefect-ml audit list, and restore it "
    "from a backup."
)


def tampered(
    sequence: int | None, table: Table, key: tuple[Any, ...], differs: tuple[str, object, object] | None = None
) -> TamperedError:
    """The error for a record that is not what the log says.

    Args:
        sequence: of the row of the log that says it, if it is one.
        table: that the record is in.
        key: of the record.
        differs: a column, what stands in it, and what the log says; the record is gone when none is given.
    """
    where = "the audit log" if sequence is None else f"row {sequence} of the audit log"
    which = f"The {_SINGULAR[table.name]} {_named(key)}"
    if differs is None:
        return TamperedError(f"{which} is gone, of which {where} tells. {ADVICE}")
    column, found, expected = differs
    return TamperedError(
        f"{which} was changed: its {column} is {_shown(found)}, and {where} says {_shown(expected)}. {ADVICE}"
    )


def added(connection: Connection, table: Table) -> TamperedError | None:
    """The error for a record that no row of the log tells of.

    None when there are only aliases that were taken over from elsewhere before rows of the log told of it.
    """
    known: set[tuple[Any, ...]] = set()
    taken_over: set[str] = set()
    for entry in _entries(connection):
        told = {
            alias_moves.name: entry.move,
            policies.name: entry.policy,
            promotion_requests.name: entry.request,
            promotion_decisions.name: entry.decision,
            endpoint_revisions.name: entry.revision,
        }[table.name]()
        if told is not None:
            known.add(told.key)
        if entry.row["action"] == "imported" and entry.row["origin"] == UNTOLD:
            taken_over.add(entry.row["subject"].removeprefix("models:/"))
    for *key, reason in connection.execute(_keys(table)):
        old = table is alias_moves and key[0] in taken_over and reason.startswith("imported from ")
        if tuple(key) not in known and not old:
            which = f"{_SINGULAR[table.name]} {_named(tuple(key))}"
            return TamperedError(f"Nothing in the audit log tells of the {which}. {ADVICE}")
    return None


def turned(connection: Connection) -> TamperedError:
    """The error for a request whose status is not the last that the log tells of."""
    last = {turn.request: turn for entry in _entries(connection) if (turn := entry.turn())}
    asked = promotion_requests.c
    for request, status in connection.execute(select(asked.request_id, asked.status)):
        told = last[request]
        if status != told.after:
            return tampered(told.sequence, promotion_requests, (request,), ("status", status, told.after))
    return TamperedError(f"The audit log and the promotion requests tell of different statuses. {ADVICE}")


def _entries(connection: Connection) -> Iterator[Entry]:
    after = 0
    while rows := _block(connection, after):
        yield from (Entry(row) for row in rows)
        after = rows[-1]["sequence"]


def _block(connection: Connection, after: int) -> Sequence[RowMapping]:
    query = select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(_BLOCK)
    return connection.execute(query).mappings().all()


def _keys(table: Table) -> Select[Any]:
    """What names the records of a table, and their reason last."""
    moved, saved, asked, made = (each.c for each in (alias_moves, policies, promotion_requests, promotion_decisions))
    if table is alias_moves:
        return select(moved.name, moved.alias, moved.generation, moved.reason)
    if table is policies:
        return select(saved.name, saved.version, literal(""))
    if table is promotion_requests:
        return select(asked.request_id, literal(""))
    if table is endpoint_revisions:
        return select(endpoint_revisions.c.name, endpoint_revisions.c.revision, literal(""))
    joined = made.request == asked.id
    query = select(asked.request_id, made.number, made.reason)
    return query.join_from(promotion_decisions, promotion_requests, joined, isouter=True)


def _named(key: tuple[Any, ...]) -> str:
    return ", ".join(str(part) for part in key)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
