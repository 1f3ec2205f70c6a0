"""Logged models and registered models from MLflow's tables."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from prefect_ml.entities import (
    LifecycleStage,
    LoggedModel,
    LoggedModelStatus,
    Metric,
    ModelMetric,
    ModelVersion,
    RegisteredModel,
    Stage,
)
from prefect_ml.moving.mlflow_tables import MlflowTables
from prefect_ml.moving.rest_reading import model_id_of
from prefect_ml.store.moving_contract import MovedLoggedModel, MovedModel

# The stage that MLflow gives a deleted version, whose number is kept by its row.
_DELETED = "Deleted_Internal"
# The numbers of the states of a logged model.
_STATUS = {
    1: LoggedModelStatus.PENDING,
    2: LoggedModelStatus.READY,
    3: LoggedModelStatus.UPLOAD_FAILED,
}


def logged_models_of(tables: MlflowTables, experiment_id: str) -> Iterator[MovedLoggedModel]:
    """All logged models of an experiment, the oldest first."""
    if "logged_models" not in tables.there:
        return
    of = tables["logged_models"].c
    query = select(tables["logged_models"]).where(of.experiment_id == int(experiment_id))
    with tables.read() as connection:
        rows = connection.execute(query.order_by(of.creation_timestamp_ms, of.model_id)).all()
    for row in rows:
        with tables.read() as connection:
            moved = _logged_model(tables, connection, row)
        yield moved


def models(tables: MlflowTables) -> Iterator[MovedModel]:
    """All registered models of the default workspace, by name."""
    if "registered_models" not in tables.there:
        return
    of = tables["registered_models"].c
    query = select(tables["registered_models"]).where(in_default(tables, "registered_models"))
    with tables.read() as connection:
        rows = connection.execute(query.order_by(of.name)).all()
    for row in rows:
        with tables.read() as connection:
            moved = _model(tables, connection, row)
        yield moved


def in_default(tables: MlflowTables, name: str) -> Any:
    """Whether a row is of the default workspace, the only one before MLflow 3.10 or so."""
    return tables.column(name, "workspace", "default") == "default"


def _logged_model(tables: MlflowTables, connection: Connection, row: Row[Any]) -> MovedLoggedModel:
    pairs = {}
    for what in ("param", "tag"):
        of = tables[f"logged_model_{what}s"].c
        query = select(of[f"{what}_key"], of[f"{what}_value"]).where(of.model_id == row.model_id)
        pairs[what] = {key: value or "" for key, value in connection.execute(query)}
    model = LoggedModel(
        model_id=row.model_id,
        experiment_id=str(row.experiment_id),
        name=row.name,
        creation_timestamp=row.creation_timestamp_ms,
        last_updated_timestamp=row.last_updated_timestamp_ms,
        artifact_uri=row.artifact_location,
        status=_STATUS.get(row.status, LoggedModelStatus.UNSPECIFIED),
        model_type=row.model_type or "",
        source_run_id=row.source_run_id or "",
        params=pairs["param"],
        tags=pairs["tag"],
        metrics=_metrics(tables, connection, row.model_id),
    )
    return MovedLoggedModel(model, LifecycleStage(row.lifecycle_stage or LifecycleStage.ACTIVE))


def _metrics(tables: MlflowTables, connection: Connection, model_id: str) -> list[ModelMetric]:
    """All points of a logged model; a NaN, which MLflow keeps here as 0, is known from the run's curve."""
    of, point = tables["logged_model_metrics"].c, tables["metrics"].c
    same = and_(
        point.run_uuid == of.run_id,
        point.key == of.metric_name,
        point.timestamp == of.metric_timestamp_ms,
        point.step == of.metric_step,
        point.is_nan,
    )
    joined = tables["logged_model_metrics"].outerjoin(tables["metrics"], same)
    query = select(tables["logged_model_metrics"], point.is_nan).select_from(joined).where(of.model_id == model_id)
    return [
        ModelMetric(
            model_id,
            Metric(
                row.metric_name,
                math.nan if row.is_nan or row.metric_value is None else row.metric_value,
                row.metric_timestamp_ms,
                row.metric_step,
            ),
            row.dataset_name or "",
            row.dataset_digest or "",
            row.run_id,
        )
        for row in connection.execute(query)
    ]


def _model(tables: MlflowTables, connection: Connection, row: Row[Any]) -> MovedModel:
    aliases: dict[str, int] = {}
    if "registered_model_aliases" in tables.there:
        of = tables["registered_model_aliases"].c
        query = select(of.alias, of.version).where(of.name == row.name, in_default(tables, "registered_model_aliases"))
        aliases = dict(connection.execute(query.order_by(of.alias)).tuples().all())
    model = RegisteredModel(
        name=row.name,
        creation_timestamp=row.creation_time or 0,
        last_updated_timestamp=row.last_updated_time or 0,
        description=row.description or "",
        tags=_tags(tables, connection, "registered_model_tags", row.name).get(0, {}),
        aliases=aliases,
    )
    of = tables["model_versions"].c
    query = select(tables["model_versions"]).where(of.name == row.name, in_default(tables, "model_versions"))
    rows = connection.execute(query.order_by(of.version)).all()
    tags = _tags(tables, connection, "model_version_tags", row.name)
    versions = [_version(each, tags.get(each.version, {}), aliases) for each in rows if each.current_stage != _DELETED]
    return MovedModel(model, versions, max((each.version for each in rows), default=0))


def _version(row: Row[Any], tags: Mapping[str, str], aliases: Mapping[str, int]) -> ModelVersion:
    return ModelVersion(
        name=row.name,
        version=row.version,
        creation_timestamp=row.creation_time or 0,
        last_updated_timestamp=row.last_updated_time or 0,
        source=row.source or "",
        run_id=row.run_id or None,
        stage=Stage(row.current_stage or Stage.NONE),
        description=row.description or "",
        tags=tags,
        aliases=tuple(sorted(alias for alias, version in aliases.items() if version == row.version)),
        model_id=model_id_of(row.source or ""),
        run_link=getattr(row, "run_link", None) or "",
    )


def _tags(tables: MlflowTables, connection: Connection, table: str, name: str) -> dict[int, dict[str, str]]:
    """Tags by version; those of a model itself under 0."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    if table not in tables.there:
        return found
    of = tables[table].c
    version = tables.column(table, "version", 0)
    query = select(version, of.key, of.value).where(of.name == name, in_default(tables, table)).order_by(of.key)
    for number, key, value in connection.execute(query):
        found[number][key] = value or ""
    return found
