"""A loaded model that answers scoring requests."""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError, NotAllowedError, StoreUnavailableError, StoreVersionError
from prefect_ml.models.infer import data_kind
from prefect_ml.registry.resolve import load_resolved, settled
from prefect_ml.serving.decoding import Decoder, Request
from prefect_ml.serving.encoding import encode
from prefect_ml.serving.failure import ModelFailedError
from prefect_ml.serving.pace import Pace
from prefect_ml.serving.warming import shown, warm

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect_ml.models.folder import LoadedModel
    from prefect_ml.registry.resolve import ResolvedModel
    from prefect_ml.settings import Settings

_log = logging.getLogger("prefect_ml.serving")


@dataclass(frozen=True)
class Replica:
    """One version of a model in memory.

    Attributes:
        model: that predicts.
        resolved: what it was resolved from.
        loaded_at: ms since the epoch.
        decoder: of its requests.
        matrix: predicts from an array of plain numbers without a look at the signature, which the decoder has
            compared; None where the model wants a table.
        pace: whether it is fast enough for the event loop.
        headers: of each of its answers, as ASGI has them.
    """

    model: LoadedModel
    resolved: ResolvedModel
    loaded_at: int
    decoder: Decoder
    matrix: Callable[[Any], Any] | None
    pace: Pace
    headers: tuple[tuple[bytes, bytes], ...]

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
        return encode(self.predict(request), bare=request.bare)

    def predict(self, request: Request) -> Any:
        """What the model predicts.

        Raises:
            InvalidInputError: the data does not fit the model's signature.
            ModelFailedError: the model raised; its exception is the cause.
        """
        try:
            if self.matrix is not None and data_kind(request.data) == "array":
                return self.matrix(request.data)
            return self.model.predict(request.data, request.params)
        except InvalidInputError:
            raise
        except Exception as error:
            raise _failed(error) from error

    def fit(self, request: Request) -> Any:
        """The data of a request as the model takes them, for `predict_fitted`.

        Raises:
            InvalidInputError: the data does not fit the model's signature.
        """
        signature = self.model.signature
        if signature is None or (self.matrix is not None and data_kind(request.data) == "array"):
            return request.data
        return signature.enforce(request.data)

    def predict_fitted(self, data: Any) -> Any:
        """What the model predicts without parameters for what `fit` gave, or for several of them stacked.

        Raises:
            ModelFailedError: the model raised; its exception is the cause.
        """
        try:
            if self.matrix is not None and data_kind(data) == "array":
                return self.matrix(data)
            return self.model.flavor.predict(self.model.native, data, None)
        except Exception as error:
            raise _failed(error) from error

    def again_as(self, resolved: ResolvedModel) -> Replica:
        """The same loaded model, found under another resolution, such as a later generation of its alias."""
        return dataclasses.replace(self, resolved=resolved, headers=_headers(resolved))


def load_replica(resolved: ResolvedModel, settings: Settings) -> Replica:
    """Fetch, verify, load and warm a model: it must predict on its own input example, where it has one.

    Raises:
        PrefectMLError: it cannot be fetched or loaded; a `ModelFailedError` when it fails on its example.
    """
    resolved = _settled(resolved, settings)
    model = load_resolved(resolved, settings)
    warmed = warm(model)
    return Replica(
        model=model,
        resolved=resolved,
        loaded_at=time.time_ns() // 1_000_000,
        decoder=Decoder(model.signature, as_matrix=warmed.matrix is not None),
        matrix=warmed.matrix,
        pace=Pace(model.flavor.name, warmed.one_row),
        headers=_headers(resolved),
    )


def _settled(resolved: ResolvedModel, settings: Settings) -> ResolvedModel:
    """The model with a recorded digest, so that every replica serves the same files; without one when none can be."""
    if resolved.store is None:
        return resolved
    try:
        return settled(resolved.store, resolved, settings.cache_folder)
    except (NotAllowedError, StoreUnavailableError, StoreVersionError) as error:
        _log.warning("The digest of %s is not recorded: %s", resolved.uri, error)
        return resolved


def _headers(resolved: ResolvedModel) -> tuple[tuple[bytes, bytes], ...]:
    """Which model answers; a folder's path stays on this side."""
    if resolved.name is None:
        return ()
    name = resolved.name.encode("ascii", "backslashreplace").replace(b"\n", b" ").replace(b"\r", b" ")
    version = b"" if resolved.version is None else b"%d" % resolved.version
    return (b"x-model-name", name), (b"x-model-version", version)


def _failed(error: Exception) -> ModelFailedError:
    return ModelFailedError(f"The model failed on this data, which may not be what it expects: {shown(error)}")
