"""The forms in which a model is asked and answers over HTTP: MLflow's scoring protocol, and KServe's (`kserve.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from prefect_ml.errors import InvalidInputError
from prefect_ml.serving.columnar_bodies import accepted, write_predictions
from prefect_ml.serving.encoding import encode
from prefect_ml.serving.failure import ModelFailedError
from prefect_ml.serving.rows import count_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.http.refusal import RefusedError
    from prefect_ml.serving.decoding import Request
    from prefect_ml.serving.replica import Replica

JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent.

    Attributes:
        body: of the answer.
        rows: that it tells of.
        headers: beside the length and the model's name.
    """

    body: bytes
    rows: int
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)


class Form(Protocol):
    """How requests are read and answers written; without state, so that one serves all requests."""

    def content_type(self, headers: Mapping[bytes, bytes]) -> str:
        """The media type of a request's body, as observers are told it."""

    def read(self, replica: Replica, headers: Mapping[bytes, bytes], body: bytes) -> Request:
        """What a request asks.

        Raises:
            InvalidInputError: it is no request, or cannot fit the model.
            RefusedError: it asks for what is not supported.
        """

    def write(self, name: str, replica: Replica, request: Request, predictions: Any) -> Answer:
        """The answer; `name` is the one under which the model is served.

        Raises:
            ModelFailedError: the model predicts something that this form cannot hold.
        """

    def refusal(self, refused: RefusedError) -> bytes:
        """The body of an answer that refuses."""


class ScoringForm:
    """MLflow's scoring protocol, with Arrow and Parquet beside JSON and CSV."""

    def content_type(self, headers: Mapping[bytes, bytes]) -> str:
        return headers.get(b"content-type", b"").decode("latin-1")

    def read(self, replica: Replica, headers: Mapping[bytes, bytes], body: bytes) -> Request:
        request = replica.decoder.decode(self.content_type(headers), body)
        accept = headers.get(b"accept")
        if accept is not None and b"apache" in accept:
            request.accept = accepted(accept)
        return request

    def write(self, name: str, replica: Replica, request: Request, predictions: Any) -> Answer:  # noqa: ARG002  theirs
        rows = count_rows(request.data)
        if not request.accept:
            return Answer(encode(predictions, bare=request.bare), rows)
        try:
            body = write_predictions(predictions, rows, request.accept)
        except InvalidInputError as error:
            raise ModelFailedError(f"{error} Ask for application/json.") from error
        return Answer(body, rows, ((b"content-type", request.accept.encode()),))

    def refusal(self, refused: RefusedError) -> bytes:
        # A request may have quoted half a surrogate pair, which is no UTF-8.
        message = str(refused).encode(errors="replace").decode()
        return orjson.dumps({"error_code": refused.code, "message": message})


SCORING = ScoringForm()
