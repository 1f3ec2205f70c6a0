"""The model that answers now, and the version that it is."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from prefect_ml.models.folder import LoadedModel
from prefect_ml.registry.resolve import ResolvedModel, load_resolved
from prefect_ml.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Replica:
    """A loaded and warmed model; a request keeps the one that it started with until it is answered."""

    model: LoadedModel
    source: ResolvedModel
    loaded_at: int

    @classmethod
    def load(cls, source: ResolvedModel, settings: Settings) -> Replica:
        """Fetch, verify and load a model, and let it predict its input example once.

        Raises whatever fetching, loading or predicting raises: a model that cannot do that must not answer.
        """
        model = load_resolved(source, settings)
        if model.input_example is not None:
            model.predict(model.input_example)
        return cls(model, source, time.time_ns() // 1_000_000)


class Served:
    """Which replica answers; swapped by assignment, which a request sees before or after, never between."""

    def __init__(self, uri: str, replica: Replica) -> None:
        self.uri = uri
        self.replica = replica
        self.refused = ""

    def swap(self, replica: Replica) -> None:
        """Let another replica answer from now on."""
        self.replica, self.refused = replica, ""
        log.warning("Serving %s version %s now.", replica.source.name, replica.source.version)

    def health(self) -> dict[str, object]:
        """What answers, and why a newer version does not, if one was refused."""
        source = self.replica.source
        return {
            "status": "ok",
            "model_uri": self.uri,
            "model": source.name,
            "version": source.version,
            "generation": source.generation,
            "loaded_at": self.replica.loaded_at,
            "error": self.refused or None,
        }
