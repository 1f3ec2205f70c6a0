"""What a scoring is asked to do, as each process that takes part in it knows it."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.errors import CorruptArtifactError
from prefect_ml.models.folder import load_model
from prefect_ml.models.trust import Trust
from prefect_ml.registry.resolve import ResolvedModel, fetch, fetch_signature, resolve, settled
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from prefect_ml.models.folder import LoadedModel
    from prefect_ml.scoring.plan import Chunk
    from prefect_ml.scoring.scores import OnBadRows

# Of the parts; a later release that writes them otherwise scores again.
_FORMAT = 1
# A process keeps as many models: a worker may take part in two scorings at a time.
_MOST_LOADED = 2

_lock = threading.Lock()
_loaded: OrderedDict[str, LoadedModel] = OrderedDict()


@dataclass(frozen=True, slots=True)
class ScoringModel:
    """A model that does not change while data are scored.

    Attributes:
        uri: as it was asked for; trust may be given to it.
        origin: what it meant then: `models:/<name>/<version>`, or the same.
        digest: of its files.
        name: of the registered model, or None.
        version: of it, or None.
    """

    uri: str
    origin: str
    digest: str
    name: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One scoring.

    Attributes:
        model: what scores.
        output: path or URL of the folder of parts.
        schema: of the input, as Arrow serializes it.
        keep: the columns that are kept beside the predictions.
        features: the columns that the model takes, where its signature names none.
        params: inference parameters.
        prediction: name of the column of predictions.
        on_bad_rows: "fail" or "quarantine".
    """

    model: ScoringModel
    output: str
    schema: bytes
    keep: Sequence[str]
    features: Sequence[str] | None
    params: Mapping[str, Any]
    prediction: str
    on_bad_rows: OnBadRows

    def key(self, chunk: Chunk) -> str:
        """What a part depends on: equal keys have equal parts."""
        about = [
            _FORMAT, self.model.digest, chunk.digest, chunk.name, chunk.start, chunk.stop, chunk.first,
            hashlib.sha256(self.schema).hexdigest(), list(self.keep), self.features and list(self.features),
            dict(self.params), self.prediction, self.on_bad_rows,
        ]  # fmt: skip
        return hashlib.sha256(orjson.dumps(about, option=orjson.OPT_SORT_KEYS)).hexdigest()


def settle_model(uri: str, settings: Settings) -> tuple[ScoringModel, ResolvedModel, Path]:
    """What a URI means now, fixed by its digest, and its folder on this machine; nothing of it is loaded.

    Raises:
        NotFoundError: it names nothing.
        CorruptArtifactError: its files are not those that were registered.
    """
    found = resolve(open_store(), uri)
    if found.store is not None:
        found = settled(found.store, found, settings.cache_folder)
    folder = fetch(found, settings.cache_folder)
    digest = found.digest or f"sha256:{folder.name}"
    return ScoringModel(uri, found.origin, digest, found.name, found.version), found, folder


def model_of(wanted: ScoringModel) -> LoadedModel:
    """The model, fetched, verified and loaded once in each process.

    Raises:
        CorruptArtifactError: what is there has another digest than when the scoring began.
        UntrustedModelError: it would unpickle, and its origin is not trusted in this process.
    """
    with _lock:
        if (known := _loaded.get(wanted.digest)) is not None:
            _loaded.move_to_end(wanted.digest)
            return known
        settings = Settings()
        found = resolve(open_store(), wanted.origin)
        folder = fetch(found, settings.cache_folder)
        if f"sha256:{folder.name}" != wanted.digest:
            raise CorruptArtifactError(
                f"The model {wanted.origin!r} has changed since the scoring began; start it again for the new one."
            )
        trusted, signers = settings.trusted_origins, settings.trusted_signers
        if signers:
            fetch_signature(found, folder)
        origin = wanted.uri if Trust(wanted.uri, trusted).given else wanted.origin
        model = _loaded[wanted.digest] = load_model(
            folder, origin=origin, trusted_origins=trusted, trusted_signers=signers, vouched=bool(found.digest)
        )
        while len(_loaded) > _MOST_LOADED:
            _loaded.popitem(last=False)
        return model
