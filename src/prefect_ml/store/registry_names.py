"""The rules for names and values of the registry; limits and wording are MLflow's where its clients see them."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from prefect_ml.entities import Stage
from prefect_ml.errors import InvalidInputError, InvalidNameError
from prefect_ml.store.names import MAX_KEY, check_text

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MODEL_NAME = 256
MAX_ALIAS = 255
MAX_TAG_VALUE = 100_000
MAX_DESCRIPTION = 100_000
MAX_SOURCE = 5_000
MAX_WORDS = 2_000
# The name of a person, as long as the form takes it.
MAX_ACTOR = 200

_ALIAS = re.compile(r"[\w.\-]+")
_VERSION_ALIAS = re.compile(r"v[0-9]+", re.IGNORECASE)
_VERSIONS = range(1, 2**63)


def is_text(value: Any) -> bool:
    """Whether a name could be in a database at all, so that looking for it makes sense."""
    try:
        return bool(check_text("A name", value))
    except InvalidInputError:
        return False


def check_model_name(value: Any, what: str = "name") -> str:
    """The name of a registered model: free text without `/` and `:`, which separate the parts of a URI."""
    name = check_text("The name of a registered model", value)
    if not name.strip():
        raise InvalidNameError(f"Missing value for required parameter '{what}'. Give the model a name.")
    if len(name) > MAX_MODEL_NAME or "/" in name or ":" in name:
        raise InvalidNameError(
            f"Invalid name {name[:60]!r} of a registered model: it has at most {MAX_MODEL_NAME} characters, "
            "none of them a slash (/) or colon (:)."
        )
    return name


def check_version(value: Any) -> int:
    if type(value) is not int or value not in _VERSIONS:
        raise InvalidInputError(
            f"Parameter 'version' must be an integer, got {value!r}. Give a version's number, from 1."
        )
    return value


def check_generation(value: Any, what: str = "generation") -> int:
    """A number that counts from 0."""
    if type(value) is not int or not 0 <= value < _VERSIONS.stop:
        raise InvalidInputError(f"Parameter '{what}' must be an integer from 0, got {value!r}.")
    return value


def check_alias(value: Any) -> str:
    """The name of an alias: letters, digits, `_`, `-` and `.`; `latest` and `v<digits>` mean something else."""
    alias = check_text("The name of an alias", value)
    if alias.lower() == "latest":
        raise InvalidNameError("'latest' alias name (case insensitive) is reserved. Take another name.")
    if _VERSION_ALIAS.fullmatch(alias):
        raise InvalidNameError(f"Version alias name '{alias}' is reserved. Take another name.")
    if len(alias) > MAX_ALIAS or not _ALIAS.fullmatch(alias):
        raise InvalidNameError(
            f"Invalid name {alias[:60]!r} of an alias: use 1 to {MAX_ALIAS} letters, digits, "
            "underscores (_), dashes (-) and periods (.)."
        )
    return alias


def check_stage(value: Any) -> Stage:
    """A stage by its name in any case."""
    for stage in Stage:
        if isinstance(value, str) and value.lower() == stage.value.lower():
            return stage
    raise InvalidInputError(f"Invalid Model Version stage: {value}. Value must be one of {', '.join(Stage)}.")


def check_tag_key(value: Any) -> str:
    key = check_text("The key of a tag", value)
    if not key:
        raise InvalidNameError("Missing value for required parameter 'key'. Give the tag a key.")
    if len(key) > MAX_KEY:
        raise InvalidNameError(f"The key of a tag has at most {MAX_KEY} characters, got {len(key)}.")
    return key


def check_tags(tags: Mapping[str, str] | None) -> dict[str, str]:
    """Checked tags; a value that is too long is refused, not cut."""
    checked = {}
    for key, value in (tags or {}).items():
        text = check_text(f"The value of tag {key!r}", value)
        if len(text) > MAX_TAG_VALUE:
            raise InvalidInputError(
                f"Tag {key!r}: 'value' exceeds the maximum length of {MAX_TAG_VALUE} characters; shorten it."
            )
        checked[check_tag_key(key)] = text
    return checked


def check_words(what: str, value: Any, limit: int = MAX_WORDS, *, needed: bool = False) -> str:
    """A text for people, of at most `limit` characters."""
    words = check_text(what, value)
    if needed and not words.strip():
        raise InvalidInputError(f"{what} must not be empty; say it, since it is kept.")
    if len(words) > limit:
        raise InvalidInputError(f"{what} has {len(words)} characters; at most {limit} are kept. Shorten it.")
    return words


def person(actor: str) -> str:
    """Who is meant by a name, so that nobody counts twice by writing it otherwise."""
    return unicodedata.normalize("NFKC", actor).strip().casefold()


def clip(text: str) -> str:
    """A text made of others, cut to what is kept; a NUL character, which databases refuse, is shown as such."""
    shown = text.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")
    return shown if len(shown) <= MAX_WORDS else f"{shown[: MAX_WORDS - 1]}…"
