"""Taking over experiments, runs and logged models as they were elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, update

from prefect_ml.entities import LifecycleStage, LoggedModel, LoggedModelStatus, ModelOutput, Run, RunStatus
from prefect_ml.errors import InvalidInputError
from prefect_ml.store import names
from prefect_ml.store.audit import record
from prefect_ml.store.experiments import artifact_location, find_experiment
from prefect_ml.store.input_names import check_input
from prefect_ml.store.inputs import write_inputs
from prefect_ml.store.logged_model_names import check_logged_model_name, check_model_id, check_model_metrics
from prefect_ml.store.logged_model_points import write_model_points
from prefect_ml.store.logged_model_tables import logged_model_params, logged_model_tags, logged_models
from prefect_ml.store.moving_execution import checked_execution, write_execution
from prefect_ml.store.moving_load import logged_model_row
from prefect_ml.store.pairs import RUN_NAME_TAG, write_params, write_tags
from prefect_ml.store.points import write_points
from prefect_ml.store.registry_names import check_tags, check_words
from prefect_ml.store.registry_rows import RegistryRows
from prefect_ml.store.run_models import write_made_models, write_used_models
from prefect_ml.store.runs import find_run
from prefect_ml.store.statements import upsert
from prefect_ml.store.tables import experiment_tags, experiments, runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.entities import Experiment, ModelMetric
    from prefect_ml.store.moving_contract import MovedExperiment, MovedLoggedModel, MovedRun

# Elsewhere, values may be longer than what clients may send here.
_LONGEST_VALUE = 1_000_000


class MovingRows(RegistryRows):
    def take_over_experiment(self, moved: MovedExperiment, origin: str) -> str:
        given = moved.experiment
        values = _experiment_values(given) | {"deletion_time": _deleted(given.lifecycle_stage, moved.deletion_time)}
        tags = _checked_pairs("tag", given.tags)

        def work(connection: Connection) -> str:
            statement = upsert(connection, experiments, ["name"], []).values(values).returning(experiments.c.id)
            number = connection.execute(statement).scalar()
            if number is None:
                there = select(experiments.c.id).where(experiments.c.name == given.name)
                return str(connection.execute(there).scalar_one())
            place = update(experiments).where(experiments.c.id == number)
            connection.execute(place.values(artifact_location=f"{self.artifact_root}/{number}"))
            rows = [{"experiment": number, "key": key, "value": value} for key, value in tags.items()]
            if rows:
                connection.execute(insert(experiment_tags), rows)
            _record(connection, f"experiments:/{number}", origin, name=given.name)
            return str(number)

        return self.change(work)

    def take_over_run(self, moved: MovedRun, origin: str) -> bool:
        run = moved.run
        values = _run_values(run) | {"deletion_time": _deleted(run.lifecycle_stage, moved.deletion_time)}
        points = names.check_metrics(moved.points)
        params, tags = _checked_pairs("param", run.params), _checked_pairs("tag", run.tags)
        if run.name:
            tags[RUN_NAME_TAG] = run.name
        inputs = [check_input(each) for each in run.inputs]
        used = [check_model_id(model_id) for model_id in run.model_inputs]
        execution = checked_execution(moved)
        made = [ModelOutput(check_model_id(m), names.check_step("A step", step)) for m, step in run.model_outputs]

        def work(connection: Connection) -> bool:
            experiment = find_experiment(connection, run.experiment_id)
            root = artifact_location(experiment, self.artifact_root).rstrip("/")
            row = values | {"experiment": experiment.id, "artifact_uri": f"{root}/{run.run_id}/artifacts"}
            statement = upsert(connection, runs, ["run_id"], []).values(row).returning(runs.c.id)
            number = connection.execute(statement).scalar()
            if number is None:
                return False
            write_params(connection, number, params)
            write_tags(connection, number, tags)
            write_points(connection, number, [(0, points)])
            write_inputs(connection, number, inputs)
            write_used_models(connection, number, used)
            write_made_models(connection, number, made)
            write_execution(connection, number, *execution)
            _record(connection, f"runs:/{run.run_id}", origin, experiment=experiment.name)
            return True

        return self.change(work)

    def take_over_logged_model(self, moved: MovedLoggedModel, origin: str) -> bool:
        model = moved.model
        values = _logged_model_values(model) | {
            "lifecycle_stage": LifecycleStage(moved.lifecycle_stage),
            "deletion_time": _deleted(moved.lifecycle_stage, moved.deletion_time),
        }
        params, tags = check_tags(model.params), check_tags(model.tags)
        points = check_model_metrics(list(model.metrics))

        def work(connection: Connection) -> bool:
            if logged_model_row(connection, model.model_id) is not None:
                return False
            experiment = find_experiment(connection, model.experiment_id)
            root = artifact_location(experiment, self.artifact_root).rstrip("/")
            place = {"experiment": experiment.id, "artifact_uri": f"{root}/models/{model.model_id}/artifacts"}
            # Metrics are written while it is active, as they are of those that are.
            row = values | place | {"lifecycle_stage": LifecycleStage.ACTIVE}
            number = connection.execute(insert(logged_models).values(row).returning(logged_models.c.id)).scalar_one()
            for table, pairs in ((logged_model_params, params), (logged_model_tags, tags)):
                if pairs:
                    rows = [{"model": number, "key": key, "value": value} for key, value in pairs.items()]
                    connection.execute(insert(table), rows)
            _write_metrics(connection, points)
            stage = update(logged_models).where(logged_models.c.id == number)
            connection.execute(stage.values(lifecycle_stage=values["lifecycle_stage"]))
            _record(connection, f"models:/{model.model_id}", origin, experiment=experiment.name)
            return True

        return self.change(work)


def _write_metrics(connection: Connection, points: list[ModelMetric]) -> None:
    by_run: dict[str, list[ModelMetric]] = {}
    for point in points:
        by_run.setdefault(point.run_id, []).append(point)
    for run_id, logged in sorted(by_run.items()):
        if (run := find_run(connection, run_id)) is not None:
            write_model_points(connection, run.id, logged)


def _experiment_values(given: Experiment) -> dict[str, Any]:
    return {
        "name": names.check_experiment_name(given.name),
        "artifact_location": "",
        "lifecycle_stage": LifecycleStage(given.lifecycle_stage),
        "creation_time": names.check_time("creation_time", given.creation_time),
        "last_update_time": names.check_time("last_update_time", given.last_update_time),
    }


def _run_values(run: Run) -> dict[str, Any]:
    return {
        "run_id": names.check_run_id(run.run_id),
        "name": names.check_text("The name of a run", run.name),
        "status": RunStatus(run.status),
        "user_id": names.check_text("user_id", run.user_id),
        "start_time": names.check_time("start_time", run.start_time),
        "end_time": None if run.end_time is None else names.check_time("end_time", run.end_time),
        "lifecycle_stage": LifecycleStage(run.lifecycle_stage),
    }


def _logged_model_values(model: LoggedModel) -> dict[str, Any]:
    return {
        "model_id": check_model_id(model.model_id),
        "name": check_logged_model_name(model.name),
        "model_type": check_words("The type of a logged model", model.model_type),
        "source_run_id": names.check_text("A run id", model.source_run_id),
        "status": LoggedModelStatus(model.status),
        "creation_timestamp": names.check_time("creation_timestamp", model.creation_timestamp),
        "last_updated_timestamp": names.check_time("last_updated_timestamp", model.last_updated_timestamp),
    }


def _checked_pairs(what: str, pairs: Mapping[str, str]) -> dict[str, str]:
    """Params or tags with checked keys, their values whole."""
    for key, value in pairs.items():
        names.check_key(what, key)
        if len(names.check_text(f"The value of {what} {key!r}", value)) > _LONGEST_VALUE:
            raise InvalidInputError(f"The value of {what} {key!r} has {len(value)} characters; it cannot be kept here.")
    return dict(pairs)


def _deleted(stage: LifecycleStage, at: int | None) -> int | None:
    return names.check_time("deletion_time", at) if at is not None and stage == LifecycleStage.DELETED else None


def _record(connection: Connection, subject: str, origin: str, **after: str) -> None:
    record(connection, "imported", subject, after={"origin": origin, **after})
