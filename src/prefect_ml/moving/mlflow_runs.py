"""Runs and their curves from MLflow's tables."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from prefect_ml.entities import Dataset, DatasetInput, LifecycleStage, Metric, ModelOutput, Run, RunStatus
from prefect_ml.moving.mlflow_tables import MlflowTables

_PAGE = 500


def runs_of(tables: MlflowTables, experiment_id: str) -> Iterator[Run]:
    """All runs of an experiment, page by page, by id."""
    table = tables["runs"]
    query = select(table).where(table.c.experiment_id == int(experiment_id)).order_by(table.c.run_uuid).limit(_PAGE)
    last = ""
    while True:
        with tables.read() as connection:
            rows = connection.execute(query.where(table.c.run_uuid > last)).all()
            found = _runs(tables, connection, rows)
        yield from found
        if len(rows) < _PAGE:
            return
        last = rows[-1].run_uuid


def points_of(tables: MlflowTables, run_id: str) -> list[Metric]:
    """Every point of a run."""
    return _points(tables, "metrics", [run_id]).get(run_id, [])


def deletion_time_of(tables: MlflowTables, run_id: str) -> int | None:
    table = tables["runs"]
    with tables.read() as connection:
        query = select(tables.column("runs", "deleted_time")).select_from(table).where(table.c.run_uuid == run_id)
        at = connection.execute(query).scalar()
    return None if at is None else int(at)


def _runs(tables: MlflowTables, connection: Connection, rows: Sequence[Row[Any]]) -> list[Run]:
    ids = [row.run_uuid for row in rows]
    params = _pairs(tables, connection, "params", ids)
    tags = _pairs(tables, connection, "tags", ids)
    latest = _points(tables, "latest_metrics", ids, connection) if "latest_metrics" in tables.there else {}
    inputs = _inputs(tables, connection, ids)
    used, made = _models(tables, connection, ids)
    return [
        Run(
            run_id=row.run_uuid,
            experiment_id=str(row.experiment_id),
            name=row.name or tags[row.run_uuid].get("mlflow.runName", ""),
            status=RunStatus(row.status or RunStatus.FINISHED),
            user_id=row.user_id or "",
            start_time=row.start_time or 0,
            end_time=row.end_time,
            artifact_uri=row.artifact_uri or "",
            lifecycle_stage=LifecycleStage(row.lifecycle_stage or LifecycleStage.ACTIVE),
            params=params[row.run_uuid],
            latest=latest.get(row.run_uuid, []),
            tags=tags[row.run_uuid],
            inputs=inputs.get(row.run_uuid, ()),
            model_inputs=used.get(row.run_uuid, ()),
            model_outputs=made.get(row.run_uuid, ()),
        )
        for row in rows
    ]


def _pairs(tables: MlflowTables, connection: Connection, name: str, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    of = tables[name].c
    found: dict[str, dict[str, str]] = {run_id: {} for run_id in ids}
    query = select(of.run_uuid, of.key, of.value).where(of.run_uuid.in_(ids))
    for run_id, key, value in connection.execute(query.order_by(of.run_uuid, of.key)):
        found[run_id][key] = value or ""
    return found


def _points(
    tables: MlflowTables, name: str, ids: Sequence[str], connection: Connection | None = None
) -> dict[str, list[Metric]]:
    """Points of runs by key, step, timestamp and value."""
    if connection is None:
        with tables.read() as opened:
            return _points(tables, name, ids, opened)
    of = tables[name].c
    step, is_nan = tables.column(name, "step", 0), tables.column(name, "is_nan", default=False)
    query = select(of.run_uuid, of.key, of.value, of.timestamp, step, is_nan).where(of.run_uuid.in_(ids))
    found: dict[str, list[Metric]] = defaultdict(list)
    for run_id, key, value, timestamp, at_step, nan in connection.execute(query):
        point = Metric(key, math.nan if nan else float(value), timestamp or 0, at_step)
        found[run_id].append(point)
    return found


def _inputs(tables: MlflowTables, connection: Connection, ids: Sequence[str]) -> dict[str, list[DatasetInput]]:
    if not {"inputs", "input_tags", "datasets"} <= tables.there:
        return {}
    of, dataset, tag = tables["inputs"].c, tables["datasets"].c, tables["input_tags"].c
    query = select(of.input_uuid, of.destination_id, tables["datasets"])
    query = query.join_from(tables["inputs"], tables["datasets"], of.source_id == dataset.dataset_uuid)
    query = query.where(of.source_type == "DATASET", of.destination_type == "RUN", of.destination_id.in_(ids))
    rows = connection.execute(query.order_by(dataset.name, dataset.digest)).all()
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    tagged = select(tag.input_uuid, tag.name, tag.value).join_from(
        tables["input_tags"], tables["inputs"], tag.input_uuid == of.input_uuid
    )
    for input_uuid, key, value in connection.execute(tagged.where(of.destination_id.in_(ids))):
        tags[input_uuid][key] = value
    found: dict[str, list[DatasetInput]] = defaultdict(list)
    for row in rows:
        facts = (row.name, row.digest, row.dataset_source_type, row.dataset_source)
        given = Dataset(*facts, row.dataset_schema or "", row.dataset_profile or "")
        found[row.destination_id].append(DatasetInput(given, tags.get(row.input_uuid, {})))
    return found


def _models(
    tables: MlflowTables, connection: Connection, ids: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, list[ModelOutput]]]:
    """The logged models that runs used, and those that they made."""
    used: dict[str, list[str]] = defaultdict(list)
    made: dict[str, list[ModelOutput]] = defaultdict(list)
    if "inputs" not in tables.there:
        return used, made
    of = tables["inputs"].c
    columns = (of.source_type, of.source_id, of.destination_id, tables.column("inputs", "step", 0))
    query = select(*columns).where(of.source_type.in_(["RUN_INPUT", "RUN_OUTPUT"]), of.source_id.in_(ids))
    for kind, run_id, model_id, step in connection.execute(query.order_by(of.destination_id)):
        if kind == "RUN_INPUT":
            used[run_id].append(model_id)
        else:
            made[run_id].append(ModelOutput(model_id, step))
    return used, made
