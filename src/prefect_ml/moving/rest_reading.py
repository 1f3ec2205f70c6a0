"""From the JSON of MLflow's REST protocol to what is moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefect_ml.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    LifecycleStage,
    LoggedModel,
    LoggedModelStatus,
    Metric,
    ModelMetric,
    ModelOutput,
    ModelVersion,
    RegisteredModel,
    Run,
    RunStatus,
    Stage,
)

Json = Mapping[str, Any]


def read_experiment(given: Json) -> Experiment:
    return Experiment(
        experiment_id=str(given["experiment_id"]),
        name=given["name"],
        artifact_location=given.get("artifact_location", ""),
        lifecycle_stage=LifecycleStage(given.get("lifecycle_stage", "active")),
        creation_time=_number(given.get("creation_time")),
        last_update_time=_number(given.get("last_update_time")),
        tags=_pairs(given.get("tags")),
    )


def read_run(given: Json) -> Run:
    info, data, inputs = given["info"], given.get("data", {}), given.get("inputs", {})
    run_id = info.get("run_id") or info["run_uuid"]
    tags = _pairs(data.get("tags"))
    end = info.get("end_time")
    return Run(
        run_id=run_id,
        experiment_id=str(info["experiment_id"]),
        name=info.get("run_name") or tags.get("mlflow.runName", ""),
        status=RunStatus(info.get("status", RunStatus.FINISHED)),
        user_id=info.get("user_id", ""),
        start_time=_number(info.get("start_time")),
        end_time=None if end is None else _number(end),
        artifact_uri=info.get("artifact_uri", ""),
        lifecycle_stage=LifecycleStage(info.get("lifecycle_stage", "active")),
        params=_pairs(data.get("params")),
        latest=[read_metric(metric) for metric in data.get("metrics", [])],
        tags=tags,
        inputs=[_dataset_input(each) for each in inputs.get("dataset_inputs", [])],
        model_inputs=[each["model_id"] for each in inputs.get("model_inputs", [])],
        model_outputs=[
            ModelOutput(each["model_id"], _number(each.get("step")))
            for each in given.get("outputs", {}).get("model_outputs", [])
        ],
    )


def read_metric(given: Json) -> Metric:
    value, at = float(given["value"]), _number(given.get("timestamp"))
    return Metric(given["key"], value, at, _number(given.get("step")))


def read_logged_model(given: Json) -> LoggedModel:
    info, data = given["info"], given.get("data", {})
    return LoggedModel(
        model_id=info["model_id"],
        experiment_id=str(info["experiment_id"]),
        name=info.get("name", ""),
        creation_timestamp=_number(info.get("creation_timestamp_ms")),
        last_updated_timestamp=_number(info.get("last_updated_timestamp_ms")),
        artifact_uri=info.get("artifact_uri", ""),
        status=_status(info.get("status")),
        model_type=info.get("model_type") or "",
        source_run_id=info.get("source_run_id") or "",
        params=_pairs(data.get("params")),
        tags=_pairs(info.get("tags")),
        metrics=[
            ModelMetric(
                info["model_id"],
                read_metric(metric),
                metric.get("dataset_name") or "",
                metric.get("dataset_digest") or "",
                metric.get("run_id") or "",
            )
            for metric in data.get("metrics", [])
        ],
    )


def read_model(given: Json) -> RegisteredModel:
    return RegisteredModel(
        name=given["name"],
        creation_timestamp=_number(given.get("creation_timestamp")),
        last_updated_timestamp=_number(given.get("last_updated_timestamp")),
        description=given.get("description", ""),
        tags=_pairs(given.get("tags")),
        aliases={each["alias"]: int(each["version"]) for each in given.get("aliases", [])},
    )


def read_version(given: Json, aliases: Mapping[str, int]) -> ModelVersion:
    version = int(given["version"])
    return ModelVersion(
        name=given["name"],
        version=version,
        creation_timestamp=_number(given.get("creation_timestamp")),
        last_updated_timestamp=_number(given.get("last_updated_timestamp")),
        source=given.get("source", ""),
        run_id=given.get("run_id") or None,
        stage=Stage(given.get("current_stage") or Stage.NONE),
        description=given.get("description", ""),
        tags=_pairs(given.get("tags")),
        aliases=tuple(sorted(alias for alias, pointed in aliases.items() if pointed == version)),
        model_id=given.get("model_id") or model_id_of(given.get("source", "")),
        run_link=given.get("run_link", ""),
    )


def model_id_of(source: str) -> str:
    """The logged model that a source `models:/m-…` names; "" for another source."""
    rest = source.removeprefix("models:/")
    return rest if source.startswith("models:/m-") and "/" not in rest and "@" not in rest else ""


def _dataset_input(given: Json) -> DatasetInput:
    dataset = given["dataset"]
    return DatasetInput(
        Dataset(
            name=dataset["name"],
            digest=dataset["digest"],
            source_type=dataset.get("source_type", ""),
            source=dataset.get("source", ""),
            schema=dataset.get("schema", ""),
            profile=dataset.get("profile", ""),
        ),
        _pairs(given.get("tags")),
    )


def _status(given: str | None) -> LoggedModelStatus:
    return LoggedModelStatus(given) if given else LoggedModelStatus.UNSPECIFIED


def _pairs(given: Iterable[Json] | None) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in given or ()}


def _number(given: object) -> int:
    """An integer, which the protocol also has as text; 0 when it is absent."""
    return int(str(given)) if given is not None else 0
