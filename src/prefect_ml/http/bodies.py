"""Reading the bodies of requests, within bounds of size, memory and time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from prefect_ml.http.gzipped import Unpacking, is_gzip
from prefect_ml.http.refusal import RefusedError

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

# Bytes of a body that are not counted: a connection's own buffers are as large.
_SMALL = 1 << 16
# What the protocol says in a request's scope when its body has come whole, so that nothing is waited for.
WHOLE = "prefect_ml.whole_body"
# So many of the largest bodies may be in memory at a time.
_LARGEST_AT_A_TIME = 8
# A body may take so many times as long as it may make no progress.
_PAUSES = 10
# So many times the bound is read and thrown away of a body that is too large.
_DISCARDED = 2


class GoneError(RefusedError):
    """The client closed its connection before it had sent its request; nobody hears the answer."""

    def __init__(self) -> None:
        super().__init__(499, "BAD_REQUEST", "The client closed the connection within its request.")


class Bodies:
    """Reads bodies.

    Args:
        most: bytes that one may have.
        seconds: without progress, after which a request is given up.
        setting: the environment variable of the first bound, for the message.
        code: the error code of a body that is too large.
    """

    def __init__(self, most: int, seconds: float, setting: str, code: str = "REQUEST_TOO_LARGE") -> None:
        self._most = most
        self._seconds = seconds
        self._setting = setting
        self._code = code
        self._held = 0
        self._most_held = _LARGEST_AT_A_TIME * most

    async def read(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body; give it back to `release` when the request is answered.

        One that is packed by gzip is unpacked, and what it becomes may be as long as one that is not.

        Raises:
            RefusedError: it is longer than it may be (413), came too slowly (408), there is no memory for it (503), or
                it is packed in another way (415) or badly (400).
            GoneError: the client is gone.
        """
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self._most:
            if b"expect" not in headers:  # a client that asks before it sends need not send
                await self._discard(receive)
            raise self._too_large()
        if scope.get(WHOLE):
            message = await receive()
            if message["type"] != "http.request":
                raise GoneError
            body: bytes = message.get("body", b"")
            self._hold(0, len(body))
        else:
            body = await self._awaited(receive)
        if len(body) > self._most:
            self.release(body)
            raise self._too_large()
        coding = headers.get(b"content-encoding")
        return body if coding is None else await self._unpacked(body, coding)

    async def _unpacked(self, body: bytes, coding: bytes) -> bytes:
        """A body without its content coding, which may have as many bytes as one that came without."""
        held = len(body)
        try:
            if not is_gzip(coding):
                return body
            unpacking = Unpacking(body)
            if not unpacking.take(min(_SMALL, self._most)):
                # It is not known how long it will be: as if it were as long as it may.
                self._hold(held, self._most)
                held = self._most
                await asyncio.to_thread(unpacking.take, self._most)
            if unpacking.size <= self._most:
                self._hold(held, unpacking.size)
                return unpacking.body()
        except BaseException:
            self._held -= _counted(held)
            raise
        self._held -= _counted(held)
        raise self._too_large()

    async def _awaited(self, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self._seconds) as limit:
                message = await receive()
                body: bytes
                if message.get("more_body", False) or message["type"] != "http.request":
                    body = await self._join(message, receive, limit)
                else:
                    body = message.get("body", b"")
                    self._hold(0, len(body))
        except TimeoutError:
            raise self._too_slow() from None
        return body

    def release(self, body: bytes | bytearray) -> None:
        """Note that a body is no longer in memory."""
        self._held -= _counted(len(body))

    async def _join(self, message: Message, receive: Receive, limit: asyncio.Timeout) -> bytes:
        parts = bytearray()
        loop = asyncio.get_running_loop()
        last = loop.time() + _PAUSES * self._seconds
        try:
            while self._take(parts, message):
                if len(parts) > self._most:
                    limit.reschedule(None)
                    await self._discard(receive)
                    break
                limit.reschedule(min(last, loop.time() + self._seconds))
                message = await receive()
        except BaseException:
            self.release(parts)
            raise
        return bytes(parts)

    def _take(self, parts: bytearray, message: Message) -> bool:
        """Add what a message brings; whether more is to come."""
        if message["type"] != "http.request":
            raise GoneError
        part = message.get("body", b"")
        self._hold(len(parts), len(parts) + len(part))
        parts += part
        more: bool = message.get("more_body", False)
        return more

    def _hold(self, before: int, after: int) -> None:
        self._held += _counted(after) - _counted(before)
        if self._held > self._most_held:
            self._held -= _counted(after) - _counted(before)
            raise RefusedError(
                503,
                "TEMPORARILY_UNAVAILABLE",
                "The server has as many large requests in memory as it may; try again in a second.",
                {"Retry-After": "1", "Connection": "close"},
            )

    async def _discard(self, receive: Receive) -> None:
        """Read on without keeping anything, within bounds: closed in the middle of a body, a client sees no answer."""
        left = _DISCARDED * self._most
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413,
            self._code,
            f"The body has more than {self._most:,} bytes; send it in parts, or have the server take more "
            f"({self._setting}).",
            {"Connection": "close"},
        )

    def _too_slow(self) -> RefusedError:
        return RefusedError(
            408,
            "REQUEST_TIMEOUT",
            f"The body made no progress for {self._seconds:g} s, or took {_PAUSES} times as long; send it again.",
            {"Connection": "close"},
        )


def _counted(size: int) -> int:
    return size if size > _SMALL else 0
