"""A loaded model that answers scoring requests."""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError, NotAllowedError, StoreUnavailableError, StoreVersionError
from prefect_ml.registry.resolve import load_resolved, settled
from prefect_ml.serving.decoding import Decoder
from prefect_ml.serving.encoding import encode
from prefect_ml.serving.failure import ModelFailedError

if TYPE_CHECKING:
    from prefect_ml.models.folder import LoadedModel
    from prefect_ml.registry.resolve import ResolvedModel
    from prefect_ml.settings import Settings

_log = logging.getLogger("prefect_ml.serving")
_SHOWN = 300


@dataclass(frozen=True)
class Replica:
    """One version of a model in memory, and what it was resolved from; `loaded_at` is in ms since the epoch."""

    model: LoadedModel
    resolved: ResolvedModel
    loaded_at: int
    decoder: Decoder

    @property
    def name(self) -> str:
        return self.resolved.name or self.resolved.uri

    @property
    def version(self) -> str:
        """The version as text; "" for a model that is not registered."""
        return "" if self.resolved.version is None else str(self.resolved.version)

    def answer(self, content_type: str, body: bytes) -> bytes:
        """The answer to a scoring request.

        Raises:
            InvalidInputError: the request cannot be decoded or does not fit the model's signature.
            ModelFailedError: the model raised; its exception is the cause.
            RefusedError: the content type is not supported.
        """
        request = self.decoder.decode(content_type, body)
        try:
            predictions = self.model.predict(request.data, request.params)
        except InvalidInputError:
            raise
        except Exception as error:
            raise ModelFailedError(
                f"The model failed on this data, which may not be what it expects: {_shown(error)}"
            ) from error
        return encode(predictions, bare=request.bare)

    def again_as(self, resolved: ResolvedModel) -> Replica:
        """The same loaded model, found under another resolution, such as a later generation of its alias."""
        return dataclasses.replace(self, resolved=resolved)


def load_replica(resolved: ResolvedModel, settings: Settings) -> Replica:
    """Fetch, verify, load and warm a model: it must predict on its own input example, where it has one.

    Raises:
        PrefectMLError: it cannot be fetched or loaded; a `ModelFailedError` when it fails on its example.
    """
    resolved = _settled(resolved, settings)
    model = load_resolved(resolved, settings)
    _warm(model)
    return Replica(model, resolved, time.time_ns() // 1_000_000, Decoder(model.signature))


def _settled(resolved: ResolvedModel, settings: Settings) -> ResolvedModel:
    """The model with a recorded digest, so that every replica serves the same files; without one when none can be."""
    if resolved.store is None:
        return resolved
    try:
        return settled(resolved.store, resolved, settings.cache_folder)
    except (NotAllowedError, StoreUnavailableError, StoreVersionError) as error:
        _log.warning("The digest of %s is not recorded: %s", resolved.uri, error)
        return resolved


def _warm(model: LoadedModel) -> None:
    try:
        if model.input_example is not None:
            encode(model.predict(model.input_example))
    except Exception as error:
        raise ModelFailedError(f"The model fails on its own input example: {_shown(error)}") from error


def _shown(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
