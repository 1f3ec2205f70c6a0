"""The rules for names and values of logged models; wording is MLflow's where its clients see it."""

from __future__ import annotations

import re
from typing import Any

from prefect_ml.entities import LoggedModelStatus, ModelMetric
from prefect_ml.errors import InvalidInputError, InvalidNameError
from prefect_ml.store.input_names import MAX_LENGTHS
from prefect_ml.store.names import check_metrics, check_text

MAX_NAME = 500

_BAD = ("/", ":", ".", "%", '"', "'")
_MODEL_ID = re.compile(r"m-[A-Za-z0-9][\w\-]{0,61}", re.ASCII)


def check_logged_model_name(value: Any) -> str:
    name = check_text("The name of a logged model", value)
    if not name.strip() or any(sign in name for sign in _BAD):
        raise InvalidNameError(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and cannot contain the "
            f"following characters: {_BAD}"
        )
    if len(name) > MAX_NAME:
        raise InvalidNameError(f"The name of a logged model has at most {MAX_NAME} characters, got {len(name)}.")
    return name


def check_model_id(value: Any) -> str:
    """The id of a logged model, which URIs tell from a registered model's name by its beginning."""
    model_id = check_text("The id of a logged model", value)
    if not _MODEL_ID.fullmatch(model_id):
        raise InvalidNameError(
            f"Invalid id {model_id[:80]!r} of a logged model: use m- and 1 to 62 letters, digits, dashes (-) and "
            "underscores (_)."
        )
    return model_id


def check_final(value: Any) -> LoggedModelStatus:
    """A status that says how it went."""
    try:
        status = LoggedModelStatus(value)
    except ValueError:
        status = LoggedModelStatus.UNSPECIFIED
    if status not in (LoggedModelStatus.READY, LoggedModelStatus.UPLOAD_FAILED):
        raise InvalidInputError(
            f"Invalid model status: {value}. Expected statuses to be one of {LoggedModelStatus.READY}, "
            f"{LoggedModelStatus.UPLOAD_FAILED}."
        )
    return status


def check_model_metrics(given: list[ModelMetric]) -> list[ModelMetric]:
    """Points of logged models with checked names and values.

    Raises:
        InvalidInputError: a point is none, or has a data set's digest without its name.
    """
    points = check_metrics(each.metric for each in given)
    for each in given:
        _check_dataset(each)
    return [each._replace(metric=point) for each, point in zip(given, points, strict=True)]


def _check_dataset(given: ModelMetric) -> None:
    check_text("The id of a logged model", given.model_id)
    for field, value in (("name", given.dataset_name), ("digest", given.dataset_digest)):
        text, limit = check_text(f"The {field} of a data set", value), MAX_LENGTHS[field]
        if len(text) > limit:
            raise InvalidInputError(f"'dataset_{field}' exceeds the maximum length of {limit} characters; shorten it.")
    if given.dataset_digest and not given.dataset_name:
        raise InvalidInputError(f"Metric {given.metric.key!r} has a data set's digest without its name; give both.")
