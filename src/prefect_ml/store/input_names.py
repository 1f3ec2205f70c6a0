"""The rules for data sets and what runs use them for; the limits are MLflow's, so that runs can be moved there."""

from __future__ import annotations

from prefect_ml.entities import DatasetInput
from prefect_ml.errors import InvalidInputError, InvalidNameError
from prefect_ml.store.names import check_text

MAX_LENGTHS = {
    "name": 500,
    "digest": 36,
    "source_type": 36,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
}
MAX_TAG_KEY = 255
MAX_TAG_VALUE = 500

_NAMED = ("name", "digest", "source_type")


def check_input(given: DatasetInput) -> DatasetInput:
    """An input whose texts both databases can hold and MLflow takes; values of tags are cut at 500 characters.

    Raises:
        InvalidInputError: a text is none, too long, or empty where something is named by it.
    """
    for field, limit in MAX_LENGTHS.items():
        what = f"The {field.replace('_', ' ')} of a data set"
        value = check_text(what, getattr(given.dataset, field))
        if len(value) > limit:
            raise InvalidInputError(f"{what} has at most {limit} characters, got {len(value)}; shorten it.")
        if field in _NAMED and not value:
            raise InvalidNameError(f"{what} is empty; give one.")
    tags = {
        _check_key(key): check_text(f"The value of tag {key!r}", v)[:MAX_TAG_VALUE] for key, v in given.tags.items()
    }
    return DatasetInput(given.dataset, tags)


def _check_key(key: str) -> str:
    check_text("The key of an input's tag", key)
    if not 1 <= len(key) <= MAX_TAG_KEY:
        raise InvalidNameError(f"The key of an input's tag has 1 to {MAX_TAG_KEY} characters, got {len(key)}.")
    return key
