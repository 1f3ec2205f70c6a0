"""An async front door before a bounded pool of threads that predict."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.http.bodies import Bodies, GoneError
from prefect_ml.http.lanes import Lane
from prefect_ml.http.refusal import RefusedError
from prefect_ml.serving.batching import Batcher
from prefect_ml.serving.failure import ModelFailedError
from prefect_ml.serving.forms import JSON, Answer
from prefect_ml.serving.observing import Answered, Observers
from prefect_ml.serving.packing import LARGE, packed_answer

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from prefect_ml.serving.decoding import Request
    from prefect_ml.serving.forms import Form
    from prefect_ml.serving.metrics import ModelMetrics
    from prefect_ml.serving.picking import ServedModel
    from prefect_ml.serving.replica import Replica
    from prefect_ml.settings import Settings

# Bytes of a body that is read on the event loop where requests are gathered.
_SMALL = 8 << 10
_NOTHING = Answer(b"", 0)
_AS_IT_IS: tuple[tuple[bytes, bytes], ...] = ()
_log = logging.getLogger("prefect_ml.serving")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server takes on before it refuses.

    Args:
        body: bytes of a request's body; more is answered 413.
        threads: predictions that each model makes at a time.
        waiting: requests to a model that wait for a thread; one more is answered 503 with Retry-After.
        body_seconds: without progress of a body, after which the request is answered 408.
        batch_rows: rows of several requests that are predicted at once; 0 for none.
        batch_wait: seconds that a request waits for others at most, while others are predicted.
    """

    body: int
    threads: int
    waiting: int
    body_seconds: float = 30.0
    batch_rows: int = 0
    batch_wait: float = 0.0

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Those that the settings name."""
        return cls(
            body=settings.serve_max_body,
            threads=settings.serve_threads,
            waiting=settings.serve_waiting,
            batch_rows=settings.serve_batch_rows,
            batch_wait=settings.serve_batch_wait,
        )


class Predictions:
    """Answers the requests to one model, in any form, with the threads that predict for it."""

    def __init__(
        self, model: ServedModel, limits: Limits, bodies: Bodies, observers: Observers, metrics: ModelMetrics
    ) -> None:
        self._model = model
        self._bodies = bodies
        self._observers = Observers((*observers.each, *model.observers))
        self._in_flight = metrics.in_flight(model.name)
        self._lane = Lane("predict", limits.threads, limits.waiting)
        self._batcher: Batcher | None = None
        if limits.batch_rows:
            self._batcher = Batcher(
                self._lane,
                rows=limits.batch_rows,
                wait=limits.batch_wait,
                waiting=limits.waiting,
                sizes=metrics.batches(model.name),
            )

    def close(self) -> None:
        """Give the threads back; one that still predicts is not waited for."""
        self._lane.close()

    async def answer(self, scope: Scope, receive: Receive, send: Send, form: Form, version: str | None = None) -> None:
        """Read a request, predict, and send the answer.

        Args:
            scope: of the request.
            receive: gives its body.
            send: takes the answer.
            form: in which it is asked and answered.
            version: that its path names.
        """
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        body, answer, replica = b"", _NOTHING, None
        problem: Exception | None = None
        self._in_flight.inc()
        try:
            body = await self._bodies.read(scope, headers, receive)
            replica = self._model.pick(headers, version)
            answer = await self.ask(replica, headers, body, form)
        except GoneError:
            return
        except (RefusedError, InvalidInputError, ModelFailedError) as error:
            if isinstance(error, ModelFailedError):
                _log.exception("Request %s: the model failed", scope["request_id"])
            refused = error if isinstance(error, RefusedError) else RefusedError(400, "BAD_REQUEST", str(error))
            await _refuse(send, refused, form)
            status, problem = refused.status, error
        except Exception as error:  # noqa: BLE001  what nobody foresaw is answered and counted as well
            _log.exception("Request %s: the server failed", scope["request_id"])
            await _refuse(send, RefusedError(500, "INTERNAL_ERROR", "The server failed; its log says why."), form)
            status, problem = 500, error
        else:
            content, how = answer.body, _AS_IT_IS
            if len(content) >= LARGE:
                content, how = await packed_answer(headers, answer)
            length = (b"content-length", b"%d" % len(content))
            start = {
                "type": "http.response.start",
                "status": 200,
                "headers": [*replica.headers, *answer.headers, *how, length],
            }
            await send(start)
            await send({"type": "http.response.body", "body": content})
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
                    content_type=form.content_type(headers),
                    body=body,
                    accept=_media_type(answer),
                    answer=answer.body,
                    status=status,
                    seconds=time.perf_counter() - began,
                    at=time.time_ns() // 1_000_000,
                    request_id=scope["request_id"],
                    rows=answer.rows,
                    error=problem,
                )
            )

    async def ask(self, replica: Replica, headers: dict[bytes, bytes], body: bytes, form: Form) -> Answer:
        """What a replica answers: at once where it is quick, else from one of the threads.

        Raises:
            InvalidInputError: the request does not fit the model.
            ModelFailedError: the model failed on it.
            RefusedError: it asks for what is not supported, or as many wait as may.
        """
        if self._batcher is not None and not (replica.model.signature and replica.model.signature.params):
            return await self._ask_together(self._batcher, replica, headers, body, form)
        pace = replica.pace
        if not pace.quick(len(body)):
            return await self._lane.run(self._answered, replica, headers, body, form)
        began = time.perf_counter()
        try:
            return self._answered(replica, headers, body, form)
        finally:
            pace.took(time.perf_counter() - began)

    async def _ask_together(
        self, batcher: Batcher, replica: Replica, headers: dict[bytes, bytes], body: bytes, form: Form
    ) -> Answer:
        small = len(body) <= _SMALL
        request, data = (
            _fitted(replica, headers, body, form)
            if small
            else await self._lane.run(_fitted, replica, headers, body, form)
        )
        predictions = await batcher.predict(replica, data)
        if small:
            return form.write(self._model.name, replica, request, predictions)
        return await self._lane.run(form.write, self._model.name, replica, request, predictions)

    def _answered(self, replica: Replica, headers: dict[bytes, bytes], body: bytes, form: Form) -> Answer:
        request = form.read(replica, headers, body)
        return form.write(self._model.name, replica, request, replica.predict(request))


def _fitted(replica: Replica, headers: dict[bytes, bytes], body: bytes, form: Form) -> tuple[Request, Any]:
    request = form.read(replica, headers, body)
    return request, replica.fit(request)


async def _refuse(send: Send, refused: RefusedError, form: Form) -> None:
    body = form.refusal(refused)
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in refused.headers.items()]
    raw += [JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": refused.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _media_type(answer: Answer) -> str:
    """The media type of an answer; "" for JSON."""
    return "" if answer.headers[0] == JSON else answer.headers[0][1].decode()
