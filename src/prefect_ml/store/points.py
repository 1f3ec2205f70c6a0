"""Writing points of curves: the points, the latest value of each curve, and the names of metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, select, tuple_

from prefect_ml.store.bulk import Bulk
from prefect_ml.store.tables import metrics as points_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection

    from prefect_ml.entities import Metric

_NAMES = (("k", "text"),)
_POINTS = (("k", "bigint"), ("s", "bigint"), ("t", "bigint"), ("v", "float8"), ("source", "bigint"))

_FIND_KEYS = Bulk("SELECT name, id FROM metric_keys WHERE name IN (SELECT k FROM {rows})", _NAMES)
_ADD_KEYS = Bulk("INSERT INTO metric_keys (name) SELECT k FROM {rows} WHERE true ON CONFLICT DO NOTHING", _NAMES)
_ADD_POINTS = Bulk(
    "INSERT INTO metrics (run, key, step, timestamp, value, is_nan, source)"
    " SELECT {run}, k, s, t, coalesce(v, 0), v IS NULL, source FROM {rows} WHERE true ON CONFLICT DO NOTHING",
    _POINTS,
)
_RAISE_LATEST = Bulk(
    "INSERT INTO latest_metrics AS old (run, key, step, timestamp, value, is_nan)"
    " SELECT {run}, k, s, t, coalesce(v, 0), v IS NULL FROM {rows} WHERE true"
    " ON CONFLICT (run, key) DO UPDATE SET step = excluded.step, timestamp = excluded.timestamp,"
    " value = excluded.value, is_nan = excluded.is_nan"
    " WHERE (excluded.step, excluded.timestamp, excluded.value, excluded.is_nan)"
    " > (old.step, old.timestamp, old.value, old.is_nan)",
    _POINTS,
)


_DROP_LATEST = Bulk(
    "DELETE FROM latest_metrics WHERE run = {run} AND key IN (SELECT k FROM {rows})", (("k", "bigint"),)
)
# Pairs of curve and step in one statement.
_PAIRS = 400

Point = tuple[int, int, int, float | None, int]


class Rival(NamedTuple):
    """Sources that executed the same code as one source did.

    Attributes:
        older: their points at the same steps are replaced.
        newer: they have replaced its points at the same steps.
    """

    older: Sequence[int]
    newer: Sequence[int]


def write_points(
    connection: Connection,
    run: int,
    metrics: Sequence[tuple[int, Sequence[Metric]]],
    rivals: Mapping[int, Rival] | None = None,
) -> None:
    """Add checked points, given by source, to the curves of a run; identical ones are there once.

    The latest value of a curve is the largest by (step, timestamp, value), where a NaN is a 0 and above it.

    Args:
        connection: in a transaction.
        run: number of the run.
        metrics: numbers of sources, 0 when unknown, with their points.
        rivals: by number of source.
    """
    names = {metric.key for _, found in metrics for metric in found}
    if not names:
        return
    keys = key_numbers(connection, names)
    points: list[Point] = [
        (keys[key], step, timestamp, None if math.isnan(value) else value, source)
        for source, found in metrics
        for key, value, timestamp, step in found
    ]
    replaced: set[int] = set()
    if rivals:
        points = _without_replaced(connection, run, points, rivals)
        replaced = _remove_replaced(connection, run, points, rivals)
    _ADD_POINTS.execute(connection, run, points)
    if replaced:
        _DROP_LATEST.execute(connection, run, [(key,) for key in sorted(replaced)])
        points += [point for key in sorted(replaced) if (point := _last_point(connection, run, key)) is not None]
    _RAISE_LATEST.execute(connection, run, _largest(points))


def _without_replaced(
    connection: Connection, run: int, points: Sequence[Point], rivals: Mapping[int, Rival]
) -> list[Point]:
    """The points that no newer source has at the same step, neither here nor in the table."""
    kept = list(points)
    for source, rival in rivals.items():
        if not rival.newer:
            continue
        newer = set(rival.newer)
        taken = {point[:2] for point in kept if point[4] in newer}
        mine = {point[:2] for point in kept if point[4] == source}
        for at in _at(run, mine):
            query = select(points_table.c.key, points_table.c.step).where(at & points_table.c.source.in_(newer))
            taken |= {(key, step) for key, step in connection.execute(query)}
        kept = [point for point in kept if point[4] != source or point[:2] not in taken]
    return kept


def _remove_replaced(
    connection: Connection, run: int, points: Sequence[Point], rivals: Mapping[int, Rival]
) -> set[int]:
    """Remove the points of older sources at the steps of the given ones, and return the curves that had some."""
    curves: set[int] = set()
    for source, rival in rivals.items():
        if rival.older:
            mine = {point[:2] for point in points if point[4] == source}
            for at in _at(run, mine):
                old = delete(points_table).where(at & points_table.c.source.in_(rival.older))
                curves |= set(connection.execute(old.returning(points_table.c.key)).scalars())
    return curves


def _at(run: int, pairs: Iterable[tuple[int, int]]) -> Iterator[ColumnElement[bool]]:
    """Conditions that together find the points of a run at pairs of curve and step."""
    ordered = sorted(pairs)
    for start in range(0, len(ordered), _PAIRS):
        part = ordered[start : start + _PAIRS]
        # The range lets both databases use the order of the table.
        first, last = part[0][0], part[-1][0]
        near = (points_table.c.run == run) & points_table.c.key.between(first, last)
        yield near & tuple_(points_table.c.key, points_table.c.step).in_(part)


def _last_point(connection: Connection, run: int, key: int) -> Point | None:
    columns = points_table.c
    order = (columns.step, columns.timestamp, columns.value, columns.is_nan)
    query = select(*order).where((columns.run == run) & (columns.key == key))
    row = connection.execute(query.order_by(*(column.desc() for column in order)).limit(1)).first()
    return None if row is None else (key, row.step, row.timestamp, None if row.is_nan else row.value, 0)


def key_numbers(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The numbers of metric names, new ones added."""
    # In one order everywhere, so that two transactions that add the same names do not wait for each other.
    wanted = [(name,) for name in sorted(names)]
    found = dict(_FIND_KEYS.execute(connection, None, wanted))
    missing = [row for row in wanted if row[0] not in found]
    if missing:
        _ADD_KEYS.execute(connection, None, missing)
        found |= dict(_FIND_KEYS.execute(connection, None, missing))
    return found


def _largest(points: Iterable[Point]) -> list[Point]:
    """The largest point of each curve, in the order of the curves' numbers."""
    largest: dict[int, Point] = {}
    for point in points:
        old = largest.get(point[0])
        if old is None or point[1] > old[1] or (point[1] == old[1] and _rank(point) > _rank(old)):
            largest[point[0]] = point
    return [largest[key] for key in sorted(largest)]


def _rank(point: Point) -> tuple[int, float, bool]:
    _, _, timestamp, value, _ = point
    return timestamp, 0.0 if value is None else value, value is None
