"""Runs, and the points of their curves, on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NotRequired

from typing_extensions import TypedDict

from prefect_ml.entities import DatasetInput, Metric, Page, Run
from prefect_ml.protocol.answers.common import Pair, pairs
from prefect_ml.protocol.fields import Number, number


class RunInfo(TypedDict):
    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    end_time: NotRequired[int]
    artifact_uri: str
    lifecycle_stage: str


class Point(TypedDict):
    key: str
    value: Number
    timestamp: int
    step: int


class RunPoint(Point):
    run_id: str


class RunData(TypedDict):
    metrics: NotRequired[list[Point]]
    params: NotRequired[list[Pair]]
    tags: NotRequired[list[Pair]]


class DatasetFields(TypedDict):
    name: str
    digest: str
    source_type: str
    source: str
    schema: NotRequired[str]
    profile: NotRequired[str]


class DatasetInputFields(TypedDict):
    dataset: DatasetFields
    tags: NotRequired[list[Pair]]


class ModelInputFields(TypedDict):
    model_id: str


class ModelOutputFields(TypedDict):
    model_id: str
    step: int


class RunInputs(TypedDict):
    dataset_inputs: NotRequired[list[DatasetInputFields]]
    model_inputs: NotRequired[list[ModelInputFields]]


class RunOutputs(TypedDict):
    model_outputs: NotRequired[list[ModelOutputFields]]


class RunFields(TypedDict):
    info: RunInfo
    data: RunData
    inputs: RunInputs
    outputs: NotRequired[RunOutputs]


class OneRun(TypedDict):
    run: RunFields


class OneRunInfo(TypedDict):
    run_info: RunInfo


class SomeRuns(TypedDict):
    runs: NotRequired[list[RunFields]]
    next_page_token: NotRequired[str]


class History(TypedDict):
    metrics: NotRequired[list[Point]]
    next_page_token: NotRequired[str]


class RunHistories(TypedDict):
    metrics: NotRequired[list[RunPoint]]


def info(found: Run) -> RunInfo:
    fields: RunInfo = {
        "run_id": found.run_id,
        "run_uuid": found.run_id,
        "run_name": found.name,
        "experiment_id": found.experiment_id,
        "user_id": found.user_id,
        "status": found.status,
        "start_time": found.start_time,
        "artifact_uri": found.artifact_uri,
        "lifecycle_stage": found.lifecycle_stage,
    }
    if found.end_time is not None:
        fields["end_time"] = found.end_time
    return fields


def point(found: Metric) -> Point:
    return {"key": found.key, "value": number(found.value), "timestamp": found.timestamp, "step": found.step}


def run(found: Run) -> RunFields:
    data: RunData = {}
    if found.latest:
        data["metrics"] = [point(each) for each in found.latest]
    if found.params:
        data["params"] = pairs(found.params)
    if found.tags:
        data["tags"] = pairs(found.tags)
    fields: RunFields = {"info": info(found), "data": data, "inputs": _inputs(found)}
    if found.model_outputs:
        outputs: list[ModelOutputFields] = [{"model_id": o.model_id, "step": o.step} for o in found.model_outputs]
        fields["outputs"] = {"model_outputs": outputs}
    return fields


def some_runs(page: Page[Run]) -> SomeRuns:
    answer: SomeRuns = {}
    if page.items:
        answer["runs"] = [run(each) for each in page.items]
    if page.next_token:
        answer["next_page_token"] = page.next_token
    return answer


def history(points: Iterable[Metric], next_token: str | None = None) -> History:
    answer: History = {}
    if metrics := [point(each) for each in points]:
        answer["metrics"] = metrics
    if next_token:
        answer["next_page_token"] = next_token
    return answer


def run_histories(found: Iterable[tuple[str, Sequence[Metric]]]) -> RunHistories:
    """The points of curves of several runs, each with its run's id."""
    metrics: list[RunPoint] = [{**point(each), "run_id": run_id} for run_id, points in found for each in points]
    return {"metrics": metrics} if metrics else {}


def _inputs(found: Run) -> RunInputs:
    fields: RunInputs = {}
    if found.inputs:
        fields["dataset_inputs"] = [_dataset_input(each) for each in found.inputs]
    if found.model_inputs:
        fields["model_inputs"] = [{"model_id": model_id} for model_id in found.model_inputs]
    return fields


def _dataset_input(used: DatasetInput) -> DatasetInputFields:
    dataset: DatasetFields = {
        "name": used.dataset.name,
        "digest": used.dataset.digest,
        "source_type": used.dataset.source_type,
        "source": used.dataset.source,
    }
    if used.dataset.schema:
        dataset["schema"] = used.dataset.schema
    if used.dataset.profile:
        dataset["profile"] = used.dataset.profile
    fields: DatasetInputFields = {"dataset": dataset}
    if used.tags:
        fields["tags"] = pairs(used.tags)
    return fields
