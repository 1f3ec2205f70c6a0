"""Models that were loaded in a run: the ancestors of the models that it makes.

Each is a tag of the run, so that every process and store can add some, and runs are found by it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.registry.resolve import ResolvedModel
    from prefect_ml.tracking.run import ActiveRun

PREFIX = "prefect_ml.model_input."
KIND = "model-input"


class ModelInput(NamedTuple):
    """A model that a run loaded.

    Attributes:
        uri: `models:/<name>/<version>`, or the URI as it was given.
        digest: of its files, "" when unknown.
    """

    uri: str
    digest: str


def note_model(run: ActiveRun, resolved: ResolvedModel) -> None:
    """Record that a run loaded a model; one that it made itself is no ancestor."""
    if resolved.run_id == run.run_id:
        return
    found = ModelInput(resolved.origin, resolved.digest)
    run.set_tags({tag_of(found.uri): orjson.dumps(found._asdict()).decode()})
    run.outlet.name(KIND, [found.uri])


def tag_of(uri: str) -> str:
    """The key of the tag that says that a run loaded the model at a URI."""
    return PREFIX + hashlib.blake2b(uri.encode(), digest_size=8).hexdigest()


def model_inputs(tags: Mapping[str, str]) -> list[ModelInput]:
    """What the tags of a run say, by URI; a tag that says something else is left out."""
    found = (_read(value) for key, value in tags.items() if key.startswith(PREFIX))
    return sorted(each for each in found if each is not None)


def _read(text: str) -> ModelInput | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    match value:
        case {"uri": str(uri), "digest": str(digest)}:
            return ModelInput(uri, digest)
        case _:
            return None
