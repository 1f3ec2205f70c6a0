"""Experiments on the wire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NotRequired

from typing_extensions import TypedDict

from prefect_ml.entities import DatasetSummary, Experiment, Page
from prefect_ml.protocol.answers.common import Pair, pairs


class ExperimentFields(TypedDict):
    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    creation_time: int
    last_update_time: int
    tags: NotRequired[list[Pair]]


class Created(TypedDict):
    experiment_id: str


class OneExperiment(TypedDict):
    experiment: ExperimentFields


class SomeExperiments(TypedDict):
    experiments: NotRequired[list[ExperimentFields]]
    next_page_token: NotRequired[str]


class DatasetSummaryFields(TypedDict):
    experiment_id: str
    name: str
    digest: str
    context: NotRequired[str]


class DatasetSummaries(TypedDict):
    dataset_summaries: NotRequired[list[DatasetSummaryFields]]


def experiment(found: Experiment) -> ExperimentFields:
    fields: ExperimentFields = {
        "experiment_id": found.experiment_id,
        "name": found.name,
        "artifact_location": found.artifact_location,
        "lifecycle_stage": found.lifecycle_stage,
        "creation_time": found.creation_time,
        "last_update_time": found.last_update_time,
    }
    if found.tags:
        fields["tags"] = pairs(found.tags)
    return fields


def some_experiments(page: Page[Experiment]) -> SomeExperiments:
    answer: SomeExperiments = {}
    if page.items:
        answer["experiments"] = [experiment(each) for each in page.items]
    if page.next_token:
        answer["next_page_token"] = page.next_token
    return answer


def dataset_summaries(found: Iterable[DatasetSummary]) -> DatasetSummaries:
    summaries = [_summary(each) for each in found]
    return {"dataset_summaries": summaries} if summaries else {}


def _summary(found: DatasetSummary) -> DatasetSummaryFields:
    fields: DatasetSummaryFields = {
        "experiment_id": found.experiment_id,
        "name": found.name,
        "digest": found.digest,
    }
    if found.context:
        fields["context"] = found.context
    return fields
