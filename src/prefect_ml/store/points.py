"""Writing points of curves: the points, the latest value of each curve, and the names of metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prefect_ml.store.bulk import Bulk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from prefect_ml.entities import Metric

_NAMES = (("k", "text"),)
_POINTS = (("k", "bigint"), ("s", "bigint"), ("t", "bigint"), ("v", "float8"))

_FIND_KEYS = Bulk("SELECT name, id FROM metric_keys WHERE name IN (SELECT k FROM {rows})", _NAMES)
_ADD_KEYS = Bulk("INSERT INTO metric_keys (name) SELECT k FROM {rows} WHERE true ON CONFLICT DO NOTHING", _NAMES)
_ADD_POINTS = Bulk(
    "INSERT INTO metrics (run, key, step, timestamp, value, is_nan)"
    " SELECT {run}, k, s, t, coalesce(v, 0), v IS NULL FROM {rows} WHERE true ON CONFLICT DO NOTHING",
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


def write_points(connection: Connection, run: int, metrics: Sequence[Metric]) -> None:
    """Add checked points to the curves of a run; identical ones are there once.

    The latest value of a curve is the largest by (step, timestamp, value), where a NaN is a 0 and above it.
    """
    if not metrics:
        return
    keys = _key_numbers(connection, {metric.key for metric in metrics})
    points = [
        (keys[key], step, timestamp, None if math.isnan(value) else value) for key, value, timestamp, step in metrics
    ]
    _ADD_POINTS.execute(connection, run, points)
    _RAISE_LATEST.execute(connection, run, _largest(points))


def _key_numbers(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The numbers of metric names, new ones added."""
    # In one order everywhere, so that two transactions that add the same names do not wait for each other.
    wanted = [(name,) for name in sorted(names)]
    found = dict(_FIND_KEYS.execute(connection, None, wanted))
    missing = [row for row in wanted if row[0] not in found]
    if missing:
        _ADD_KEYS.execute(connection, None, missing)
        found |= dict(_FIND_KEYS.execute(connection, None, missing))
    return found


Point = tuple[int, int, int, float | None]


def _largest(points: Iterable[Point]) -> list[Point]:
    """The largest point of each curve, in the order of the curves' numbers."""
    largest: dict[int, tuple[tuple[int, int, float, bool], Point]] = {}
    for point in points:
        key, step, timestamp, value = point
        rank = (step, timestamp, 0.0 if value is None else value, value is None)
        old = largest.get(key)
        if old is None or rank > old[0]:
            largest[key] = (rank, point)
    return [largest[key][1] for key in sorted(largest)]
