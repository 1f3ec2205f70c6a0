"""From rows to entities: params, tags, latest metrics and inputs of many runs in one query each."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from prefect_ml.entities import Dataset, DatasetInput, LifecycleStage, Metric, Run, RunStatus
from prefect_ml.store.input_tables import datasets, input_tags, inputs
from prefect_ml.store.run_models import RunModels, load_run_models
from prefect_ml.store.tables import latest_metrics, metric_keys, params, tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row, Table

# Within the number of parameters that both databases take.
_CHUNK = 10_000
_NO_MODELS = RunModels((), ())


def load_runs(connection: Connection, rows: Sequence[Row[Any]]) -> list[Run]:
    """The runs of rows of the table, in their order."""
    found: list[Run] = []
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        numbers = [row.id for row in part]
        all_params = _pairs(connection, params, numbers)
        all_tags = _pairs(connection, tags, numbers)
        latest = _latest(connection, numbers)
        used = _inputs(connection, numbers)
        models = load_run_models(connection, numbers)
        found += [
            _run(
                row,
                params=all_params[row.id],
                tags=all_tags[row.id],
                latest=latest[row.id],
                used=used.get(row.id, ()),
                models=models.get(row.id, _NO_MODELS),
            )
            for row in part
        ]
    return found


def _run(
    row: Row[Any],
    *,
    params: dict[str, str],
    tags: dict[str, str],
    latest: list[Metric],
    used: Sequence[DatasetInput],
    models: RunModels,
) -> Run:
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
        latest=tuple(latest),
        tags=tags,
        inputs=used,
        model_inputs=models.used,
        model_outputs=models.made,
    )


def _pairs(connection: Connection, table: Table, numbers: list[int]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {number: {} for number in numbers}
    query = select(table.c.run, table.c.key, table.c.value).where(table.c.run.in_(numbers))
    for run, key, value in connection.execute(query.order_by(table.c.run, table.c.key)):
        found[run][key] = value
    return found


def _latest(connection: Connection, numbers: list[int]) -> dict[int, list[Metric]]:
    found: dict[int, list[Metric]] = {number: [] for number in numbers}
    latest = latest_metrics.c
    query = select(latest.run, metric_keys.c.name, latest.value, latest.is_nan, latest.timestamp, latest.step)
    query = query.join_from(latest_metrics, metric_keys, latest.key == metric_keys.c.id)
    query = query.where(latest.run.in_(numbers)).order_by(latest.run, metric_keys.c.name)
    for run, name, value, is_nan, timestamp, step in connection.execute(query):
        found[run].append(Metric(name, math.nan if is_nan else value, timestamp, step))
    return found


def _inputs(connection: Connection, runs: Sequence[int]) -> dict[int, list[DatasetInput]]:
    """The inputs of runs by name and digest; runs without any are not there, and cost nothing."""
    query = select(inputs.c.run, inputs.c.id, inputs.c.dataset, input_tags.c.key, input_tags.c.value)
    query = query.outerjoin_from(inputs, input_tags, input_tags.c.input == inputs.c.id)
    query = query.order_by(inputs.c.run, inputs.c.name, inputs.c.digest, input_tags.c.key)
    used: dict[tuple[int, int, int], dict[str, str]] = {}
    for run, number, dataset, key, value in connection.execute(query.where(inputs.c.run.in_(runs))):
        tags = used.setdefault((run, number, dataset), {})
        if key is not None:
            tags[key] = value
    # Each once, however many of the runs used it: a schema can be long.
    known = _load_datasets(connection, sorted({dataset for _, _, dataset in used}))
    found: dict[int, list[DatasetInput]] = defaultdict(list)
    for (run, _, dataset), tags in used.items():
        found[run].append(DatasetInput(known[dataset], tags))
    return found


def _load_datasets(connection: Connection, numbers: Sequence[int]) -> dict[int, Dataset]:
    found: dict[int, Dataset] = {}
    of = datasets.c
    query = select(of.id, of.name, of.digest, of.source_type, of.source, of.schema, of.profile)
    for start in range(0, len(numbers), _CHUNK):
        part = numbers[start : start + _CHUNK]
        for number, *facts in connection.execute(query.where(of.id.in_(part))):
            found[number] = Dataset(*facts)
    return found
