"""What recorded in a run: points and names by source, where a later execution replaces an earlier one's points."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_ml.entities import Attempt, Source
from prefect_ml.store.attempts import start_attempt
from prefect_ml.store.bulk import Bulk
from prefect_ml.store.points import Rival, write_points

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from prefect_ml.entities import Metric, Recorded

_ADD = Bulk(
    "INSERT INTO sources (run, scope, attempt, retry, task_run_id)"
    " SELECT {run}, scope, attempt, retry, task FROM {rows} WHERE true ON CONFLICT DO NOTHING",
    (("scope", "text"), ("attempt", "bigint"), ("retry", "bigint"), ("task", "text")),
)
_FIND = Bulk(
    "SELECT sources.id, attempt_id, number, start_time, scope, retry, task_run_id"
    " FROM (SELECT * FROM sources WHERE run = {run}) AS sources JOIN attempts ON attempts.id = sources.attempt"
    " WHERE scope IN (SELECT k FROM {rows})",
    (("k", "text"),),
)
_ADD_NAMES = Bulk(
    "INSERT INTO source_names (source, kind, name)"
    " SELECT source, kind, name FROM {rows} WHERE true ON CONFLICT DO NOTHING",
    (("source", "bigint"), ("kind", "text"), ("name", "text")),
)


class _Numbered(NamedTuple):
    number: int
    source: Source


def write_recorded(
    connection: Connection, run_id: str, run: int, plain: Sequence[Metric], recorded: Sequence[Recorded]
) -> None:
    """Add the checked points of a run, those of no known source and those of sources, and what else these recorded."""
    known = _numbered(connection, run_id, run, [each.source for each in recorded])
    numbers = {each.source: each.number for each in known}
    points = [(0, plain), *((numbers[each.source], each.metrics) for each in recorded)]
    wanted = {each.source for each in recorded}
    write_points(connection, run, points, _rivals(wanted, known))
    names = [
        (numbers[each.source], kind, name)
        for each in recorded
        if each.source.scope
        for kind, found in _names(each)
        for name in found
    ]
    _ADD_NAMES.execute(connection, None, names)


def _numbered(connection: Connection, run_id: str, run: int, wanted: Sequence[Source]) -> list[_Numbered]:
    """The sources of the scopes of those wanted, which are added when they are new."""
    if not wanted:
        return []
    attempts = {
        attempt_id: start_attempt(connection, run, Attempt(run_id, attempt_id, number, started))
        for attempt_id, number, started in sorted({source[:3] for source in wanted})
    }
    rows = [(each.scope, attempts[each.attempt_id], each.retry, each.task_run_id) for each in sorted(set(wanted))]
    _ADD.execute(connection, run, rows)
    found = _FIND.execute(connection, run, [(scope,) for scope in sorted({each.scope for each in wanted})])
    known = {number: Source(*source) for number, *source in found}
    # An attempt may be known with another number or start than these say; it is the same.
    same = {_identity(source): source for source in wanted}
    return [_Numbered(number, same.get(_identity(source), source)) for number, source in known.items()]


def _identity(source: Source) -> tuple[Any, ...]:
    return source.attempt_id, source.scope, source.retry, source.task_run_id


def _rivals(wanted: Iterable[Source], known: Sequence[_Numbered]) -> dict[int, Rival]:
    """For each of the wanted sources that has them, the sources that it replaces and those that replaced it."""
    scopes: dict[str, list[_Numbered]] = defaultdict(list)
    for each in known:
        scopes[each.source.scope].append(each)
    found: dict[int, Rival] = {}
    for number, source in known:
        peers = scopes[source.scope]
        if source not in wanted or len(peers) < 2:  # noqa: PLR2004  it and another one
            continue
        older = [peer.number for peer in peers if _replaces(source, peer.source)]
        newer = [peer.number for peer in peers if _replaces(peer.source, source)]
        if older or newer:
            found[number] = Rival(older, newer)
    return found


def _replaces(later: Source, earlier: Source) -> bool:
    if later.attempt_id == earlier.attempt_id:
        return later.task_run_id == earlier.task_run_id and later.retry > earlier.retry
    return (later.number, later.started) > (earlier.number, earlier.started)


def _names(recorded: Recorded) -> Iterable[tuple[str, Iterable[str]]]:
    yield "metric", sorted({metric.key for metric in recorded.metrics})
    yield from recorded.names.items()
