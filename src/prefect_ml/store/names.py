"""The rules for names and values of tracking; the limits are MLflow's, so that runs can be moved there."""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError, InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prefect_ml.entities import Metric

MAX_EXPERIMENT_NAME = 500
MAX_KEY = 250
MAX_PARAM_VALUE = 6000
MAX_TAG_VALUE = 8000
MAX_EXPERIMENT_TAG_VALUE = 5000

_KEY = re.compile(r"[/\w.\- :]+")
_RUN_ID = re.compile(r"[A-Za-z0-9][\w\-]{0,63}", re.ASCII)
_INT64 = range(-(2**63), 2**63)


def check_text(what: str, value: Any) -> str:
    """A string that both databases can hold: no NUL character, no half of a surrogate pair."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{what} must be a string, got {value!r} of type {type(value).__name__}.")
    if "\x00" in value:
        raise InvalidInputError(f"{what} has a NUL character in it; remove it.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{what} is no valid Unicode text: {value!r}.") from None
    return value


def check_key(what: str, name: Any) -> str:
    """The name of a metric, param or tag: letters, digits and `_-. :/`, and as a path the same name.

    Args:
        what: "metric", "param" or "tag", for the message.
        name: the name.
    """
    return _checked_key(what, name if type(name) is str else check_text(f"The name of a {what}", name))


@lru_cache(maxsize=4096)  # the same few names come again and again
def _checked_key(what: str, key: str) -> str:
    check_text(f"The name of a {what}", key)
    if not key or len(key) > MAX_KEY:
        raise InvalidNameError(f"The name of a {what} has 1 to {MAX_KEY} characters, got {len(key)}: {key[:60]!r}.")
    if not _KEY.fullmatch(key):
        raise InvalidNameError(
            f"Invalid name {key!r} of a {what}: names may only contain alphanumerics, underscores (_), "
            "dashes (-), periods (.), spaces ( ), colons (:) and slashes (/)."
        )
    if posixpath.normpath(key) != key or key.startswith(("/", "..")) or key == ".":
        raise InvalidNameError(
            f"Invalid name {key!r} of a {what}: names may be treated as files, and must not resolve "
            f"to other names when they are. Did you mean {posixpath.normpath(key).strip('./') or 'another name'!r}?"
        )
    return key


def check_run_id(value: Any) -> str:
    run_id = check_text("A run id", value)
    if not _RUN_ID.fullmatch(run_id):
        raise InvalidNameError(f"Invalid run id {run_id!r}: use 1 to 64 letters, digits, dashes and underscores.")
    return run_id


def check_experiment_name(value: Any) -> str:
    name = check_text("The name of an experiment", value)
    if not name.strip() or len(name) > MAX_EXPERIMENT_NAME:
        raise InvalidNameError(
            f"The name of an experiment has 1 to {MAX_EXPERIMENT_NAME} characters, got {len(name)}: {name[:60]!r}."
        )
    return name


def check_params(params: Mapping[str, str]) -> dict[str, str]:
    """Checked params, values cut at 6000 characters."""
    return {
        check_key("param", key): check_text(f"The value of param {key!r}", value)[:MAX_PARAM_VALUE]
        for key, value in params.items()
    }


def check_tags(tags: Mapping[str, str], limit: int = MAX_TAG_VALUE) -> dict[str, str]:
    """Checked tags, values cut at `limit` characters."""
    return {
        check_key("tag", key): check_text(f"The value of tag {key!r}", value)[:limit] for key, value in tags.items()
    }


def check_metric(metric: Metric) -> Metric:
    """A point whose value is a float or int and whose step and timestamp fit 64 bits."""
    key, value, timestamp, step = metric
    if type(key) is not str:
        check_text("The name of a metric", key)
    if type(value) is not float:
        if type(value) is not int:
            raise InvalidInputError(
                f"The value of metric {key!r} must be a number, got {value!r} of type {type(value).__name__}."
            )
        try:
            metric = metric._replace(value=float(value))
        except OverflowError:
            raise InvalidInputError(f"The value of metric {key!r} is too large for a float; scale it.") from None
    for name, number in (("step", step), ("timestamp", timestamp)):
        if type(number) is not int or number not in _INT64:
            raise InvalidInputError(
                f"The {name} of metric {key!r} must be an integer of at most 64 bits, got {number!r}."
            )
    return metric


def check_metrics(metrics: Iterable[Metric]) -> list[Metric]:
    """Points with checked names and values."""
    points = list(metrics)
    if not points:
        return points
    keys, values, timestamps, steps = zip(*points, strict=True)
    if not (_all_are(str, keys) and _all_are(float, values) and _all_fit(timestamps) and _all_fit(steps)):
        points = [check_metric(metric) for metric in points]
    for key in set(keys):
        check_key("metric", key)
    return points


def _all_are(kind: type, values: Iterable[Any]) -> bool:
    return set(map(type, values)) == {kind}


def _all_fit(numbers: Sequence[Any]) -> bool:
    return _all_are(int, numbers) and min(numbers) in _INT64 and max(numbers) in _INT64


def check_time(what: str, value: Any) -> int:
    """A time in milliseconds that fits 64 bits."""
    if type(value) is not int or value not in _INT64:
        raise InvalidInputError(f"{what} must be an integer number of milliseconds, got {value!r}.")
    return value


def check_step(what: str, value: Any) -> int:
    """A step that fits 64 bits."""
    if type(value) is not int or value not in _INT64:
        raise InvalidInputError(f"{what} must be an integer of at most 64 bits, got {value!r}.")
    return value
