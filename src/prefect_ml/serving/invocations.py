"""`POST /invocations`: an async front door before a bounded pool of threads that predict."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError
from prefect_ml.http.bodies import Bodies, GoneError
from prefect_ml.http.lanes import Lane
from prefect_ml.http.refusal import RefusedError, refuse
from prefect_ml.serving.failure import ModelFailedError
from prefect_ml.serving.observing import Answered, Observers
from prefect_ml.serving.replica import Answer

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from prefect_ml.serving.metrics import ModelMetrics
    from prefect_ml.serving.picking import ServedModel
    from prefect_ml.serving.replica import Replica
    from prefect_ml.settings import Settings

_JSON = (b"content-type", b"application/json")
_NOTHING = Answer(b"", 0)
_log = logging.getLogger("prefect_ml.serving")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server takes on before it refuses.

    Args:
        body: bytes of a request's body; more is answered 413.
        threads: predictions that each model makes at a time.
        waiting: requests to a model that wait for a thread; one more is answered 503 with Retry-After.
        body_seconds: without progress of a body, after which the request is answered 408.
    """

    body: int
    threads: int
    waiting: int
    body_seconds: float = 30.0

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Those that the settings name."""
        return cls(body=settings.serve_max_body, threads=settings.serve_threads, waiting=settings.serve_waiting)


class Invocations:
    """The ASGI application behind the route of one model, with the threads that predict for it."""

    def __init__(
        self, model: ServedModel, limits: Limits, bodies: Bodies, observers: Observers, metrics: ModelMetrics
    ) -> None:
        self._model = model
        self._bodies = bodies
        self._observers = Observers((*observers.each, *model.observers))
        self._in_flight = metrics.in_flight(model.name)
        self._lane = Lane("predict", limits.threads, limits.waiting)

    def close(self) -> None:
        """Give the threads back; one that still predicts is not waited for."""
        self._lane.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        body, answer, replica = b"", _NOTHING, None
        problem: Exception | None = None
        self._in_flight.inc()
        try:
            body = await self._bodies.read(scope, headers, receive)
            replica = self._model.pick(headers, None)
            answer = await self._answer(replica, content_type, body)
        except GoneError:
            return
        except (RefusedError, InvalidInputError, ModelFailedError) as error:
            if isinstance(error, ModelFailedError):
                _log.exception("Request %s: the model failed", scope["request_id"])
            refused = error if isinstance(error, RefusedError) else RefusedError(400, "BAD_REQUEST", str(error))
            await refuse(send, refused)
            status, problem = refused.status, error
        else:
            length = (b"content-length", b"%d" % len(answer.body))
            await send({"type": "http.response.start", "status": 200, "headers": [*replica.headers, _JSON, length]})
            await send({"type": "http.response.body", "body": answer.body})
            status = 200
        finally:
            self._in_flight.dec()
            self._bodies.release(body)
        if self._observers.each:
            self._observers.tell(
                Answered(
                    name=self._model.name,
                    replica=replica,
                    headers=headers,
                    content_type=content_type,
                    body=body,
                    accept="",
                    answer=answer.body,
                    status=status,
                    seconds=time.perf_counter() - began,
                    at=time.time_ns() // 1_000_000,
                    request_id=scope["request_id"],
                    rows=answer.rows,
                    error=problem,
                )
            )

    async def _answer(self, replica: Replica, content_type: str, body: bytes) -> Answer:
        pace = replica.pace
        if not pace.quick(len(body)):
            return await self._lane.run(replica.respond, content_type, body)
        began = time.perf_counter()
        try:
            return replica.respond(content_type, body)
        finally:
            pace.took(time.perf_counter() - began)
