"""Whole things as they are: what is moved elsewhere, or compared with what came from there."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select

from prefect_ml.entities import LifecycleStage, Metric
from prefect_ml.store.experiments import find_experiment, load_experiments
from prefect_ml.store.load import load_runs
from prefect_ml.store.logged_model_load import load_logged_models
from prefect_ml.store.logged_model_points import no_logged_model
from prefect_ml.store.logged_model_tables import logged_models
from prefect_ml.store.moving_contract import MovedExperiment, MovedLoggedModel, MovedModel, MovedRun
from prefect_ml.store.moving_execution import load_attempts, load_sources, load_steps
from prefect_ml.store.registry_load import load_model, load_versions, select_versions
from prefect_ml.store.registry_rows import find_model
from prefect_ml.store.registry_tables import model_versions
from prefect_ml.store.rows import Rows
from prefect_ml.store.runs import run_row
from prefect_ml.store.tables import metric_keys, metrics

if TYPE_CHECKING:
    from collections.abc import Sequence


class MovingLoadRows(Rows):
    def get_moved_experiment(self, experiment_id: str) -> MovedExperiment:
        with self.database.read() as connection:
            row = find_experiment(connection, experiment_id)
            (experiment,) = load_experiments(connection, [row], self.artifact_root)
        return MovedExperiment(experiment, row.deletion_time)

    def get_moved_run(self, run_id: str) -> MovedRun:
        with self.database.read() as connection:
            row = run_row(connection, run_id)
            (run,) = load_runs(connection, [row])
            return MovedRun(
                run,
                load_points(connection, row.id),
                row.deletion_time,
                load_attempts(connection, run_id, row.id),
                load_steps(connection, row.id),
                load_sources(connection, row.id),
            )

    def get_moved_logged_model(self, model_id: str) -> MovedLoggedModel:
        with self.database.read() as connection:
            row = logged_model_row(connection, model_id)
            if row is None:
                raise no_logged_model(model_id)
            (model,) = load_logged_models(connection, [row])
        return MovedLoggedModel(model, LifecycleStage(row.lifecycle_stage), row.deletion_time)

    def get_moved_model(self, name: str) -> MovedModel:
        with self.database.read() as connection:
            row = find_model(connection, name)
            query = select_versions().where(model_versions.c.model == row.id).order_by(model_versions.c.version)
            versions = load_versions(connection, connection.execute(query).all())
            model = dataclasses.replace(load_model(connection, name), latest_versions=())
        return MovedModel(model, versions, row.last_version)

    def list_logged_model_ids(self, experiment_id: str) -> Sequence[str]:
        with self.database.read() as connection:
            number = find_experiment(connection, experiment_id).id
            query = select(logged_models.c.model_id).where(logged_models.c.experiment == number)
            oldest = (logged_models.c.creation_timestamp, logged_models.c.model_id)
            return list(connection.execute(query.order_by(*oldest)).scalars())


def logged_model_row(connection: Connection, model_id: str) -> Row[Any] | None:
    """The row of a logged model, deleted or not."""
    return connection.execute(select(logged_models).where(logged_models.c.model_id == model_id)).first()


def load_points(connection: Connection, run: int) -> list[Metric]:
    """Every point of a run, by (key, step, timestamp, value)."""
    of = metrics.c
    query = select(metric_keys.c.name, of.step, of.timestamp, of.value, of.is_nan)
    query = query.join_from(metrics, metric_keys, of.key == metric_keys.c.id).where(of.run == run)
    order = (metric_keys.c.name, of.step, of.timestamp, of.value, of.is_nan)
    return [
        Metric(name, math.nan if is_nan else value, timestamp, step)
        for name, step, timestamp, value, is_nan in connection.execute(query.order_by(*order))
    ]
