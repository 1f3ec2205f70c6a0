"""Where in a request a refused name stands, in the words that MLflow's clients look for.

The store refuses a name without knowing where it came from. Looked for after the refusal, the place costs nothing where
all names are good.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError, InvalidNameError
from prefect_ml.store.names import MAX_KEY, check_key

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHARACTERS = re.compile(r"[/\w.\- :]*")
# What the reference calls a name that is too long; others by their place.
_LONG = {"metric": "Metric name", "param": "Param key"}
_SHOWN = 300

# What is named ("metric", "param" or "tag"), where in the request, and the name.
Placed = tuple[str, str, str]


def in_batch(*, metrics: Iterable[str] = (), params: Iterable[str] = (), tags: Iterable[str] = ()) -> Iterable[Placed]:
    """The names of a batch with their places, in the order of a request."""
    yield from (("metric", f"metrics[{at}].name", name) for at, name in enumerate(metrics))
    yield from (("param", f"params[{at}].key", name) for at, name in enumerate(params))
    yield from (("tag", f"tags[{at}].key", name) for at, name in enumerate(tags))


def placed(error: InvalidNameError, names: Iterable[Placed]) -> InvalidNameError:
    """The refusal of the first bad name, with its place; the error itself when none of the names is bad."""
    for what, place, name in names:
        try:
            check_key(what, name)
        except InvalidInputError:
            return InvalidNameError(_sentence(what, place, name))
    return error


def _sentence(what: str, place: str, name: str) -> str:
    if len(name) > MAX_KEY:
        return (
            f"'{_LONG.get(what, place)}' exceeds the maximum length of {MAX_KEY} characters: {place} has {len(name)}. "
            "Shorten it."
        )
    start = f"Invalid value {json.dumps(name)[:_SHOWN]} for parameter '{place}' supplied: "
    if not _CHARACTERS.fullmatch(name):
        return start + (
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and "
            "slashes (/)."
        )
    return start + (
        "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. "
        f"This name would resolve to '{posixpath.normpath(name)}'."
    )
