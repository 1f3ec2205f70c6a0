"""Whether the registry's records are what the audit log says of them.

The chain of the log is passed once, from its beginning. Each of its rows is compared with the record that it tells of,
so that what was changed or taken away is found; they are counted, so that what was added is found too. No memory of a
request is needed for its last status either: what is final is compared where it became so, and of the others there must
be as many of each status as the log says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, Table, and_, exists, func, or_, select

from prefect_ml.entities import RequestStatus
from prefect_ml.store.audit_findings import added, tampered, turned
from prefect_ml.store.audit_gates import gates_digests
from prefect_ml.store.audit_told import Entry, Told, Turn, request_as_told
from prefect_ml.store.canonical import digest
from prefect_ml.store.endpoint_tables import endpoint_revisions
from prefect_ml.store.registry_tables import (
    alias_moves,
    aliases,
    policies,
    promotion_decisions,
    promotion_requests,
    registered_models,
)
from prefect_ml.store.routed import read_routes, weights_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FINAL = {RequestStatus.REJECTED, RequestStatus.EXPIRED, RequestStatus.SUPERSEDED, RequestStatus.PROMOTED}
# So many at a time of those that may have a million characters each.
_LARGE = 20

_MOVE_KEY = ("name", "alias", "generation")
_POLICY_KEY = ("name", "version")
_REVISION_KEY = ("name", "revision")
# How the databases' drivers write the place of a value.
_MARKS = {"sqlite": "?", "postgresql": "%s"}


# Records by their keys.
Found = Iterable[tuple[tuple[Any, ...], Mapping[Any, Any]]]


class RecordCheck:
    """Compares the records with the log, block by block.

    Args:
        connection: sees one unchanging snapshot of both.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._told: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()

    def take(self, block: Sequence[Mapping[Any, Any]]) -> None:
        """Compare what the next rows of the log say.

        Raises:
            TamperedError: a record is not what a row says of it.
        """
        entries = [Entry(row) for row in block]
        moves = [told for entry in entries if (told := entry.move())]
        saved = [told for entry in entries if (told := entry.policy())]
        requests = [told for entry in entries if (told := entry.request())]
        decisions = [told for entry in entries if (told := entry.decision())]
        revised = [told for entry in entries if (told := entry.revision())]
        turns = [turn for entry in entries if (turn := entry.turn())]
        self._compare(alias_moves, moves, _moves(self._connection, moves))
        for chunk in _chunks(saved):
            self._compare(policies, chunk, _policies(self._connection, chunk))
        for chunk in _chunks(requests):
            self._compare(promotion_requests, chunk, requests_of(self._connection, chunk))
        self._compare(promotion_decisions, decisions, decisions_of(self._connection, decisions))
        self._compare(endpoint_revisions, revised, _revisions(self._connection, revised))
        self._turn(turns)

    def end(self) -> None:
        """Compare what is left when the log has been passed.

        Raises:
            TamperedError: there are records that the log does not know, or in a state that it does not know.
        """
        for table in (alias_moves, policies, promotion_requests, promotion_decisions, endpoint_revisions):
            found = self._connection.execute(select(func.count()).select_from(table)).scalar_one()
            if found != self._told[table.name] and (stranger := added(self._connection, table)):
                raise stranger
        statuses = select(promotion_requests.c.status, func.count()).group_by(promotion_requests.c.status)
        counted = {row[0]: row[1] for row in self._connection.execute(statuses)}
        for status in {*counted, *self._statuses}:
            if counted.get(status, 0) != self._statuses[status]:
                raise turned(self._connection)
        _check_pending(self._connection)
        _check_aliases(self._connection)

    def _compare(self, table: Table, told: Sequence[Told], found: Found) -> None:
        self._told[table.name] += len(told)
        compare(table, told, found)

    def _turn(self, turns: Sequence[Turn]) -> None:
        """Count what requests became, and compare those that stay so."""
        asked = promotion_requests.c
        query = select(asked.request_id, asked.status, asked.status_reason)
        ids = {turn.request for turn in turns}
        rows = {row.request_id: row for row in self._connection.execute(query.where(asked.request_id.in_(ids)))}
        for turn in turns:
            self._statuses[turn.after] += 1
            if turn.before is not None:
                self._statuses[turn.before] -= 1
            row = rows.get(turn.request)
            stays = turn.after in _FINAL or (turn.after == RequestStatus.APPROVED and row and row.status not in _FINAL)
            of = (turn.sequence, promotion_requests, (turn.request,))
            if row is None:
                raise tampered(*of)
            if stays and row.status != turn.after:
                raise tampered(*of, ("status", row.status, turn.after))
            if stays and turn.why not in (None, row.status_reason):
                raise tampered(*of, ("status_reason", row.status_reason, turn.why))


def compare(table: Table, told: Sequence[Told], found: Found) -> None:
    """Compare records with what the log says of each.

    Raises:
        TamperedError: one is gone, or says something else.
    """
    rows = dict(found)
    for sequence, key, columns in told:
        if key[-1] is None:
            continue
        row = rows.get(key)
        if row is None:
            raise tampered(sequence, table, key)
        for name, expected in columns.items():
            if row[name] != expected:
                raise tampered(sequence, table, key, (name, row[name], expected))


def _moves(connection: Connection, told: Sequence[Told]) -> Iterator[tuple[tuple[Any, ...], RowMapping]]:
    return _by_key(connection, alias_moves, _MOVE_KEY, told)


def _policies(connection: Connection, told: Sequence[Told]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for key, row in _by_key(connection, policies, _POLICY_KEY, told):
        yield key, {**row, "digest": digest(row["content"])}


def _revisions(connection: Connection, told: Sequence[Told]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for key, row in _by_key(connection, endpoint_revisions, _REVISION_KEY, told):
        yield key, {**row, "routes": digest(row["routes"]), "weights": _weights(row["routes"])}


def _weights(routes: str) -> object:
    """Routes as the log tells of them; what is kept where they cannot be read."""
    try:
        return weights_of(read_routes(routes))
    except (ValueError, TypeError):
        return routes


def requests_of(connection: Connection, told: Sequence[Told]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The requests that the log tells of, as it tells of them."""
    ids = [each.key[0] for each in told]
    query = select(promotion_requests).where(promotion_requests.c.request_id.in_(ids))
    gates = gates_digests(connection, query.with_only_columns(promotion_requests.c.key))
    for row in connection.execute(query).mappings():
        yield (row["request_id"],), request_as_told(row) | {"gates": gates.get(row["key"])}


def decisions_of(connection: Connection, told: Sequence[Told]) -> Iterator[tuple[tuple[Any, ...], RowMapping]]:
    """The decisions on the requests that the log tells of."""
    asked, made = promotion_requests.c, promotion_decisions.c
    joined = made.request == asked.id
    query = select(asked.request_id, promotion_decisions).join_from(promotion_decisions, promotion_requests, joined)
    ids = {each.key[0] for each in told}
    for row in connection.execute(query.where(asked.request_id.in_(ids))).mappings():
        yield (row["request_id"], row["number"]), row


def _by_key(
    connection: Connection, table: Table, key: Sequence[str], told: Sequence[Told]
) -> Iterator[tuple[tuple[Any, ...], RowMapping]]:
    """The records of a table with the keys that are told of."""
    if not told:
        return
    # In the driver's own words: SQLAlchemy takes longer to write a list of values than a database to look them up.
    one = "({})".format(", ".join([_MARKS[connection.dialect.name]] * len(key)))
    names = ", ".join(f'"{name}"' for name in key)
    same = " AND ".join(f'wanted."{name}" = found."{name}"' for name in key)
    wanted = f"WITH wanted ({names}) AS (VALUES {', '.join([one] * len(told))})"
    query = f"{wanted} SELECT found.* FROM wanted JOIN {table.name} found ON {same}"  # noqa: S608  names of our own
    values = tuple(value for each in told for value in each.key)
    for row in connection.exec_driver_sql(query, values).mappings():
        yield tuple(row[name] for name in key), row


def _chunks(told: Sequence[Told]) -> Iterator[Sequence[Told]]:
    for first in range(0, len(told), _LARGE):
        yield told[first : first + _LARGE]


def _check_pending(connection: Connection) -> None:
    """A request of which nothing was decided yet has no reason for its status."""
    asked = promotion_requests.c
    query = select(asked.request_id, asked.status_reason)
    query = query.where(asked.status == RequestStatus.PENDING, asked.status_reason != "")
    if row := connection.execute(query.limit(1)).first():
        raise tampered(None, promotion_requests, (row.request_id,), ("status_reason", row.status_reason, ""))


def _check_aliases(connection: Connection) -> None:
    """Every alias is where its last move put it, and none is missing."""
    at, moved, later = aliases.c, alias_moves.c, alias_moves.alias("later")
    same = and_(later.c.name == moved.name, later.c.alias == moved.alias, later.c.generation > moved.generation)
    superseded = exists().where(same)
    columns = ("version", "previous_version", "moved_at", "moved_by", "request_id")
    own = and_(moved.name == registered_models.c.name, moved.alias == at.alias, moved.generation == at.generation)
    query = select(registered_models.c.name, aliases, *(moved[name].label(f"told_{name}") for name in columns))
    query = query.join_from(aliases, registered_models, at.model == registered_models.c.id, isouter=True)
    query = query.outerjoin(alias_moves, own)
    differing = or_(moved.version.is_(None), superseded, *(moved[name].is_distinct_from(at[name]) for name in columns))
    if row := connection.execute(query.where(differing).limit(1)).mappings().first():
        of = (None, aliases, (row["name"], row["alias"]))
        name = next((name for name in columns if row[name] != row[f"told_{name}"]), None)
        if row["told_version"] is None or name is None:
            raise tampered(*of, ("generation", row["generation"], "that of its last move"))
        raise tampered(*of, (name, row[name], row[f"told_{name}"]))
    left = select(moved.name, moved.alias, at.version).where(moved.version.is_not(None), ~superseded)
    models = registered_models.c
    left = left.join_from(alias_moves, registered_models, models.name == moved.name, isouter=True)
    left = left.outerjoin(aliases, and_(at.model == models.id, at.alias == moved.alias)).where(at.version.is_(None))
    if missing := connection.execute(left.limit(1)).first():
        raise tampered(None, aliases, (missing.name, missing.alias))
