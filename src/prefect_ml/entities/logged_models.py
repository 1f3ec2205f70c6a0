"""Logged models: a model that a run made, before anybody registers it (MLflow 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from prefect_ml.entities.runs import Metric


class LoggedModelStatus(StrEnum):
    """Whether the files of a logged model are there; the names are MLflow's."""

    UNSPECIFIED = "LOGGED_MODEL_STATUS_UNSPECIFIED"
    PENDING = "LOGGED_MODEL_PENDING"
    READY = "LOGGED_MODEL_READY"
    UPLOAD_FAILED = "LOGGED_MODEL_UPLOAD_FAILED"


class ModelMetric(NamedTuple):
    """A point that says something of a logged model, and on which data set it was measured.

    Attributes:
        model_id: the logged model.
        metric: the point.
        dataset_name: "" when it is of no data set.
        dataset_digest: of that data set.
        run_id: the run that logged it; "" on the way in, where the run is known.
    """

    model_id: str
    metric: Metric
    dataset_name: str = ""
    dataset_digest: str = ""
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A logged model with its params, tags and the latest value of each metric on each data set.

    Attributes:
        model_id: "m-" and 32 hexadecimal digits.
        source_run_id: the run that made it; "" when none did.
        artifact_uri: the root of its files.
    """

    model_id: str
    experiment_id: str
    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    artifact_uri: str
    status: LoggedModelStatus
    model_type: str = ""
    source_run_id: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[ModelMetric] = ()


@dataclass(frozen=True, slots=True)
class LoggedModelOrder:
    """One sort key of a search for logged models.

    Attributes:
        field_name: an attribute such as "creation_timestamp", or a metric such as "metrics.auc".
        ascending: whether the smallest comes first; models that lack the metric come last in either direction.
        dataset_name: of a metric: only as measured on a data set of this name; "" for on any or none.
        dataset_digest: of a metric: only as measured on the data set of this digest.
    """

    field_name: str
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""
