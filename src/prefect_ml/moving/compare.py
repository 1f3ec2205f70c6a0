"""Whether what is here is what was there: field by field, but for places and for what a store gives anew."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from prefect_ml.entities import LoggedModel, Metric, ModelMetric, ModelVersion, RegisteredModel, Run
from prefect_ml.store.moving_contract import FOREIGN_EVIDENCE_TAG, MovedExperiment, MovedLoggedModel, MovedRun

_RUN_NAME = "mlflow.runName"


def experiment_fields(moved: MovedExperiment, *, times: bool) -> dict[str, Any]:
    """The fields of an experiment that are compared; with its times, when it was taken over as a whole."""
    given = moved.experiment
    fields: dict[str, Any] = {"lifecycle stage": given.lifecycle_stage, "tags": dict(given.tags)}
    if times:
        fields |= {"creation time": given.creation_time, "last update time": given.last_update_time}
    return fields


def run_fields(run: Run) -> dict[str, Any]:
    """The fields of a run, with the latest points of its curves for all."""
    named = {_RUN_NAME: run.name} if run.name else {}
    return {
        "name": run.name,
        "status": run.status,
        "user": run.user_id,
        "start time": run.start_time,
        "end time": run.end_time,
        "lifecycle stage": run.lifecycle_stage,
        "params": dict(run.params),
        "tags": {**run.tags, **named},
        "metrics": points_of(run.latest),
        "inputs": sorted(
            (each.dataset.name, each.dataset.digest, repr(each.dataset), sorted(each.tags.items()))
            for each in run.inputs
        ),
        "models used": sorted(set(run.model_inputs)),
        "models made": sorted(dict(run.model_outputs).items()),
    }


def whole_run_fields(moved: MovedRun) -> dict[str, Any]:
    """The fields of a run with all of its points; the latest follow from them."""
    fields = run_fields(moved.run)
    del fields["metrics"]
    return fields | {
        "points": points_of(moved.points),
        "deletion time": moved.deletion_time,
        "attempts": [(each.attempt_id, each.number, each.outcome) for each in moved.attempts],
        "steps": sorted((each.task_run_id, each.state) for each in moved.steps),
    }


def logged_model_fields(moved: MovedLoggedModel, runs: Iterable[str] | None = None) -> dict[str, Any]:
    """The fields of a logged model; of its metrics the latest of each, of those of the given runs."""
    model: LoggedModel = moved.model
    known = None if runs is None else set(runs)
    return {
        "name": model.name,
        "creation time": model.creation_timestamp,
        "last update time": model.last_updated_timestamp,
        "status": model.status,
        "type": model.model_type,
        "source run": model.source_run_id,
        "params": dict(model.params),
        "tags": dict(model.tags),
        "metrics": _latest(each for each in model.metrics if known is None or each.run_id in known),
        "lifecycle stage": moved.lifecycle_stage,
    }


def model_fields(model: RegisteredModel) -> dict[str, Any]:
    """The fields of a registered model, without its versions and aliases, which may come one by one."""
    return {"description": model.description, "tags": dict(model.tags)}


def version_fields(version: ModelVersion) -> dict[str, Any]:
    return {
        "creation time": version.creation_timestamp,
        "source": version.source,
        "location": version.location,
        "run": version.run_id,
        "stage": version.stage,
        "description": version.description,
        "digest": version.artifact_digest,
        "tags": {key: value for key, value in version.tags.items() if key != FOREIGN_EVIDENCE_TAG},
        "logged model": version.model_id,
        "run link": version.run_link,
    }


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """The names of the fields that differ."""
    return [name for name, value in there.items() if here[name] != value]


def points_of(points: Iterable[Metric]) -> list[tuple[Any, ...]]:
    """Points, each once, in order, in which a NaN equals itself."""
    return sorted({_rank(point) for point in points})


def _latest(points: Iterable[ModelMetric]) -> dict[tuple[str, ...], tuple[Any, ...]]:
    latest: dict[tuple[str, ...], tuple[Any, ...]] = {}
    for each in points:
        key = (each.metric.key, each.dataset_name, each.dataset_digest)
        latest[key] = max(latest.get(key, ()), _rank(each.metric))
    return latest


def _rank(point: Metric) -> tuple[str, int, int, float, bool]:
    is_nan = math.isnan(point.value)
    return point.key, point.step, point.timestamp, 0.0 if is_nan else point.value, is_nan
