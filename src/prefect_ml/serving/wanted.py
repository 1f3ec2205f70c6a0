"""What a serving process is asked to serve, and under which names."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.uri import ModelUri, UriKind

if TYPE_CHECKING:
    from collections.abc import Sequence

# What names an endpoint of the store in the place of a model.
ENDPOINT = "endpoint:"
# A name of one's own stands in paths, headers and metrics as it is.
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,127})=(?P<uri>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One model to serve: its name in `/models/<name>/invocations`, and the URI that it is found by."""

    name: str
    uri: str


def wanted_models(given: Sequence[str]) -> list[Wanted]:
    """What the arguments of `prefect-ml serve` ask for; the first of them answers `/invocations`.

    An argument is a model URI, `endpoint:NAME`, or one of these after `NAME=`. Without that, a registered model and an
    endpoint have their own names, and anything else the last part of its URI. A folder that has a `=` in its name is
    taken as it is.

    Raises:
        InvalidInputError: there is none, one is no model URI, or two have the same name.
    """
    if not given:
        raise InvalidInputError("Nothing to serve: give a model URI such as models:/churn@champion, or a folder.")
    wanted = [_wanted(each) for each in given]
    twice = [name for name, count in Counter(each.name for each in wanted).items() if count > 1]
    if twice:
        raise InvalidInputError(f"Several models would be served as {twice[0]!r}; name them as in other={given[-1]}.")
    return wanted


def _wanted(given: str) -> Wanted:
    named = _NAMED.fullmatch(given)
    if named is not None and not Path(given).exists():
        if not named["uri"].startswith(ENDPOINT):
            ModelUri.parse(named["uri"])
        return Wanted(named["name"], named["uri"])
    if given.startswith(ENDPOINT):
        from prefect_ml.store.endpoint_routes import check_endpoint_name  # noqa: PLC0415  a folder needs no store

        return Wanted(check_endpoint_name(given.removeprefix(ENDPOINT)), given)
    uri = ModelUri.parse(given)
    match uri.kind:
        case UriKind.FOLDER:
            return Wanted(Path(uri.path).resolve().name or "model", given)
        case UriKind.RUN:
            return Wanted(uri.path.rpartition("/")[2], given)
        case UriKind.LOGGED_MODEL:
            return Wanted(uri.model_id, given)
        case _:
            return Wanted(uri.name, given)
