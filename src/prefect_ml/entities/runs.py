"""Experiments and runs, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prefect_ml.entities.words import LifecycleStage, RunStatus


@dataclass(frozen=True, slots=True)
class Experiment:
    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: LifecycleStage
    creation_time: int
    last_update_time: int
    tags: Mapping[str, str] = field(default_factory=dict)


class ModelOutput(NamedTuple):
    """That a run made a logged model, at a step of its training."""

    model_id: str
    step: int = 0


class Metric(NamedTuple):
    """One point of a curve; value may be NaN or infinite, timestamp is in ms."""

    key: str
    value: float
    timestamp: int
    step: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A run with its params, tags and the latest point of each metric, by key.

    Attributes:
        latest: the point of each metric with the largest (step, timestamp, value).
        model_inputs: ids of the logged models that it used.
        model_outputs: the logged models that it made.
    """

    run_id: str
    experiment_id: str
    name: str
    status: RunStatus
    user_id: str
    start_time: int
    end_time: int | None
    artifact_uri: str
    lifecycle_stage: LifecycleStage
    params: Mapping[str, str] = field(default_factory=dict)
    latest: Sequence[Metric] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[DatasetInput] = ()
    model_inputs: Sequence[str] = ()
    model_outputs: Sequence[ModelOutput] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """The latest value of each metric."""
        return {metric.key: metric.value for metric in self.latest}


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set as it was when a run used it; the fields are those of MLflow's protocol.

    Attributes:
        name: what people call it.
        digest: a fingerprint of its content, at most 36 characters; equal content has equal digests.
        source_type: what kind of place it came from, for example "local", "s3", "http" or "code".
        source: that place, as JSON; for example `{"uri": "s3://bucket/churn.parquet"}`.
        schema: columns and their types, as JSON; "" when unknown.
        profile: row count and other facts, as JSON; "" when unknown.
    """

    name: str
    digest: str
    source_type: str
    source: str
    schema: str = ""
    profile: str = ""


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """That a run used a data set; the tag `mlflow.data.context` says for what ("training", "evaluation", …)."""

    dataset: Dataset
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """That runs of an experiment used a data set for something ("training", "evaluation", …; "" when unsaid)."""

    experiment_id: str
    name: str
    digest: str
    context: str = ""


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """A file or folder below an artifact root; `name` is relative with forward slashes."""

    name: str
    is_folder: bool
    size: int | None = None
    digest: str | None = None
