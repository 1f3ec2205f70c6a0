"""From rows to logged models: params, tags and metrics of many of them in one query each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from prefect_ml.entities import LifecycleStage, LoggedModel, LoggedModelStatus, Metric, ModelMetric
from prefect_ml.store.logged_model_points import no_logged_model
from prefect_ml.store.logged_model_tables import (
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
)
from prefect_ml.store.registry_names import is_text
from prefect_ml.store.tables import metric_keys, runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row, Table

# Within the number of parameters that both databases take.
_CHUNK = 10_000


def find_logged_model(connection: Connection, model_id: str, *, lock: bool = False) -> Row[Any]:
    """The row of a logged model that is not deleted; `lock` keeps it unchanged until the transaction ends."""
    row = None
    if is_text(model_id):
        active = logged_models.c.lifecycle_stage == LifecycleStage.ACTIVE
        query = select(logged_models).where(logged_models.c.model_id == model_id, active)
        row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise no_logged_model(model_id)
    return row


def load_logged_model(connection: Connection, model_id: str) -> LoggedModel:
    return load_logged_models(connection, [find_logged_model(connection, model_id)])[0]


def load_logged_models(connection: Connection, rows: Sequence[Row[Any]]) -> list[LoggedModel]:
    """The logged models of rows of the table, in their order."""
    found: list[LoggedModel] = []
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        numbers = [row.id for row in part]
        params = _pairs(connection, logged_model_params, numbers)
        tags = _pairs(connection, logged_model_tags, numbers)
        metrics = _metrics(connection, {row.id: row.model_id for row in part})
        found += [_logged_model(row, params[row.id], tags[row.id], metrics[row.id]) for row in part]
    return found


def _logged_model(
    row: Row[Any], params: dict[str, str], tags: dict[str, str], metrics: Sequence[ModelMetric]
) -> LoggedModel:
    return LoggedModel(
        model_id=row.model_id,
        experiment_id=str(row.experiment),
        name=row.name,
        creation_timestamp=row.creation_timestamp,
        last_updated_timestamp=row.last_updated_timestamp,
        artifact_uri=row.artifact_uri,
        status=LoggedModelStatus(row.status),
        model_type=row.model_type,
        source_run_id=row.source_run_id,
        params=params,
        tags=tags,
        metrics=tuple(metrics),
    )


def _pairs(connection: Connection, table: Table, numbers: list[int]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {number: {} for number in numbers}
    query = select(table.c.model, table.c.key, table.c.value).where(table.c.model.in_(numbers))
    for model, key, value in connection.execute(query.order_by(table.c.model, table.c.key)):
        found[model][key] = value
    return found


def _metrics(connection: Connection, models: dict[int, str]) -> dict[int, list[ModelMetric]]:
    found: dict[int, list[ModelMetric]] = {number: [] for number in models}
    of = logged_model_metrics.c
    query = select(logged_model_metrics, metric_keys.c.name, runs.c.run_id)
    query = query.join(metric_keys, of.key == metric_keys.c.id).join(runs, of.run == runs.c.id)
    order = (of.model, metric_keys.c.name, of.dataset_name, of.dataset_digest)
    for row in connection.execute(query.where(of.model.in_(list(models))).order_by(*order)):
        metric = Metric(row.name, math.nan if row.is_nan else row.value, row.timestamp, row.step)
        found[row.model].append(
            ModelMetric(models[row.model], metric, row.dataset_name, row.dataset_digest, row.run_id)
        )
    return found
