"""Logged models on the wire."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

from prefect_ml.entities import LoggedModel, ModelMetric, Page
from prefect_ml.protocol.answers.common import Pair, pairs
from prefect_ml.protocol.answers.runs import Point, point


class LoggedModelInfo(TypedDict):
    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: NotRequired[str]
    source_run_id: NotRequired[str]
    tags: NotRequired[list[Pair]]


class ModelPoint(Point):
    model_id: str
    run_id: str
    dataset_name: NotRequired[str]
    dataset_digest: NotRequired[str]


class LoggedModelData(TypedDict):
    params: NotRequired[list[Pair]]
    metrics: NotRequired[list[ModelPoint]]


class LoggedModelFields(TypedDict):
    info: LoggedModelInfo
    data: LoggedModelData


class OneLoggedModel(TypedDict):
    model: LoggedModelFields


class SomeLoggedModels(TypedDict):
    models: NotRequired[list[LoggedModelFields]]
    next_page_token: NotRequired[str]


def logged_model(found: LoggedModel) -> LoggedModelFields:
    info: LoggedModelInfo = {
        "model_id": found.model_id,
        "experiment_id": found.experiment_id,
        "name": found.name,
        "creation_timestamp_ms": found.creation_timestamp,
        "last_updated_timestamp_ms": found.last_updated_timestamp,
        "artifact_uri": found.artifact_uri,
        "status": found.status,
    }
    if found.model_type:
        info["model_type"] = found.model_type
    if found.source_run_id:
        info["source_run_id"] = found.source_run_id
    if found.tags:
        info["tags"] = pairs(found.tags)
    data: LoggedModelData = {}
    if found.params:
        data["params"] = pairs(found.params)
    if found.metrics:
        data["metrics"] = [_point(each) for each in found.metrics]
    return {"info": info, "data": data}


def one_logged_model(found: LoggedModel) -> OneLoggedModel:
    return {"model": logged_model(found)}


def some_logged_models(page: Page[LoggedModel]) -> SomeLoggedModels:
    answer: SomeLoggedModels = {}
    if page.items:
        answer["models"] = [logged_model(each) for each in page.items]
    if page.next_token:
        answer["next_page_token"] = page.next_token
    return answer


def _point(found: ModelMetric) -> ModelPoint:
    metric = point(found.metric)
    fields: ModelPoint = {
        "key": metric["key"],
        "value": metric["value"],
        "timestamp": metric["timestamp"],
        "step": metric["step"],
        "model_id": found.model_id,
        "run_id": found.run_id,
    }
    if found.dataset_name:
        fields["dataset_name"] = found.dataset_name
        fields["dataset_digest"] = found.dataset_digest
    return fields
