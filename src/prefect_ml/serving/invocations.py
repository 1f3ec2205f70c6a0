"""`POST /invocations`: an async front door before a bounded pool of threads that predict."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError
from prefect_ml.serving.gate import refuse, respond
from prefect_ml.serving.refusal import ModelFailedError, RefusedError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from prefect_ml.serving.follow import Served
    from prefect_ml.serving.replica import Replica

_log = logging.getLogger("prefect_ml.serving")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server takes on before it refuses.

    Args:
        body: bytes of a request's body; more is answered 413.
        body_seconds: time to send the body; longer is answered 408.
        threads: predictions at a time.
        waiting: requests that wait for a thread; one more is answered 503 with Retry-After.
    """

    body: int = 16 << 20
    body_seconds: float = 30.0
    threads: int = 4
    waiting: int = 128


class Invocations:
    """The ASGI application behind the route."""

    def __init__(self, served: Served, limits: Limits) -> None:
        self._served = served
        self._limits = limits
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="prefect-ml-predict")
        self._pending = 0

    def close(self) -> None:
        """Let running predictions end and give the threads back."""
        self._pool.shutdown()

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
            loop = asyncio.get_running_loop()
            return replica, await loop.run_in_executor(self._pool, replica.answer, content_type, body)
        finally:
            self._pending -= 1

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """The body; None when the client is gone."""
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced[:20]) > self._limits.body:
            raise self._too_large()
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            return self._within(bytes(message["body"]))
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while message["type"] == "http.request":
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > self._limits.body:
                        raise self._too_large()
                    if not message.get("more_body"):
                        return b"".join(chunks)
                    message = await receive()
        except TimeoutError as error:
            raise RefusedError(
                408,
                "REQUEST_TIMEOUT",
                f"The body did not arrive within {self._limits.body_seconds:g} s.",
                {"Connection": "close"},
            ) from error
        return None

    def _within(self, body: bytes) -> bytes:
        if len(body) > self._limits.body:
            raise self._too_large()
        return body

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
