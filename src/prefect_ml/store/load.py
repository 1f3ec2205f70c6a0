"""From rows to entities: params, tags and latest metrics of many runs in one query each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from prefect_ml.entities import LifecycleStage, Run, RunStatus
from prefect_ml.store.tables import latest_metrics, metric_keys, params, tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row, Table

# Within the number of parameters that both databases take.
_CHUNK = 10_000


def load_runs(connection: Connection, rows: Sequence[Row[Any]]) -> list[Run]:
    """The runs of rows of the table, in their order."""
    found: list[Run] = []
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        numbers = [row.id for row in part]
        all_params = _pairs(connection, params, numbers)
        all_tags = _pairs(connection, tags, numbers)
        metrics = _latest(connection, numbers)
        found += [_run(row, all_params[row.id], all_tags[row.id], metrics[row.id]) for row in part]
    return found


def _run(row: Row[Any], params: dict[str, str], tags: dict[str, str], metrics: dict[str, float]) -> Run:
    return Run(
        run_id=row.run_id,
        experiment_id=str(row.experiment),
        name=row.name,
        status=RunStatus(row.status),
        user_id=row.user_id,
        start_time=row.start_time,
        end_time=row.end_time,
        artifact_uri=row.artifact_uri,
        lifecycle_stage=LifecycleStage(row.lifecycle_stage),
        params=params,
        metrics=metrics,
        tags=tags,
    )


def _pairs(connection: Connection, table: Table, numbers: list[int]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {number: {} for number in numbers}
    query = select(table.c.run, table.c.key, table.c.value).where(table.c.run.in_(numbers))
    for run, key, value in connection.execute(query.order_by(table.c.run, table.c.key)):
        found[run][key] = value
    return found


def _latest(connection: Connection, numbers: list[int]) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {number: {} for number in numbers}
    latest = latest_metrics.c
    query = select(latest.run, metric_keys.c.name, latest.value, latest.is_nan)
    query = query.join_from(latest_metrics, metric_keys, latest.key == metric_keys.c.id)
    for run, name, value, is_nan in connection.execute(query.where(latest.run.in_(numbers))):
        found[run][name] = math.nan if is_nan else value
    return found
