"""`POST /invocations`: an async front door before a bounded pool of threads that predict."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError
from prefect_ml.http.refusal import RefusedError, refuse, respond
from prefect_ml.serving.failure import ModelFailedError
from prefect_ml.serving.threads import Threads

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from prefect_ml.serving.follow import Served
    from prefect_ml.serving.replica import Replica

# How many times the limit is read and thrown away of a body that is too large.
_DISCARDED = 4
_log = logging.getLogger("prefect_ml.serving")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server takes on before it refuses.

    Args:
        body: bytes of a request's body; more is answered 413.
        threads: predictions at a time.
        waiting: requests that wait for a thread; one more is answered 503 with Retry-After.
        body_seconds: time to send the body; longer is answered 408.
    """

    body: int
    threads: int
    waiting: int
    body_seconds: float = 30.0


class Invocations:
    """The ASGI application behind the route."""

    def __init__(self, served: Served, limits: Limits) -> None:
        self._served = served
        self._limits = limits
        self._threads = Threads(limits.threads)
        self._pending = 0

    def close(self) -> None:
        """Give the threads back; one that still predicts is not waited for."""
        self._threads.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            body = await self._read(headers, receive)
            if body is None:
                return
            replica, answer = await self._answer(headers.get(b"content-type", b"").decode("latin-1"), body)
        except RefusedError as refused:
            await refuse(send, refused)
        except InvalidInputError as error:
            await refuse(send, RefusedError(400, "BAD_REQUEST", str(error)))
        except ModelFailedError as error:
            _log.exception("Request %s: the model failed", scope["request_id"])
            await refuse(send, RefusedError(400, "BAD_REQUEST", str(error)))
        else:
            await respond(send, 200, answer, _names(replica))

    async def _answer(self, content_type: str, body: bytes) -> tuple[Replica, bytes]:
        if self._pending >= self._limits.threads + self._limits.waiting:
            raise RefusedError(
                503,
                "TEMPORARILY_UNAVAILABLE",
                f"The server has {self._pending} requests in hand already; try again in a second.",
                {"Retry-After": "1"},
            )
        self._pending += 1
        try:
            replica = self._served.current
            return replica, await self._threads.run(partial(replica.answer, content_type, body))
        finally:
            self._pending -= 1

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """The body; None when the client is gone."""
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced[:20]) > self._limits.body:
            await self._discard(receive)
            raise self._too_large()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._joined(receive)
        except TimeoutError as error:
            message = f"The body did not arrive within {self._limits.body_seconds:g} s."
            raise RefusedError(408, "REQUEST_TIMEOUT", message, {"Connection": "close"}) from error

    async def _joined(self, receive: Receive) -> bytes | None:
        """All chunks of the body; None when the client is gone."""
        chunks, size = [], 0
        while (message := await receive())["type"] == "http.request":
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            more = message.get("more_body", False)
            if size > self._limits.body:
                if more:
                    await self._discard(receive)
                raise self._too_large()
            if not more:
                return b"".join(chunks)
        return None

    async def _discard(self, receive: Receive) -> None:
        """Read on without keeping anything, within bounds: closed in the middle of a body, a client sees no answer."""
        left = _DISCARDED * self._limits.body
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.body_seconds):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body"):  # the end, or the client is gone
                        return

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413,
            "PAYLOAD_TOO_LARGE",
            f"The body is larger than {self._limits.body} bytes; send fewer rows at a time.",
            {"Connection": "close"},
        )


def _names(replica: Replica) -> dict[str, str]:
    """Which model answers; a folder's path stays on this side."""
    if replica.resolved.name is None:
        return {}
    name = replica.resolved.name.encode("ascii", "backslashreplace").decode()
    return {"X-Model-Name": name.replace("\n", " ").replace("\r", " "), "X-Model-Version": replica.version}
