"""What every request passes before it reaches a route: the guard, the size limit, request ids and headers."""

from __future__ import annotations

import hmac
import uuid
from collections.abc import MutableMapping
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The one path that answers without a token, so that a load balancer can look.
OPEN_PATHS = frozenset({"/ping"})
BODY_LIMIT = 32 * 1024 * 1024
# How many times the limit is read and thrown away of a body that is too large.
DISCARDED = 4


class TooLargeError(Exception):
    """A body grew over the limit while it was read."""


class Front:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, *, token: str | None, body_limit: int = BODY_LIMIT) -> None:
        self._app, self._body_limit = app, body_limit
        self._expected = f"Bearer {token}".encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        answer = _Answer(send, headers.get(b"x-request-id", b"")[:64] or uuid.uuid4().hex.encode())
        if not self._allowed(scope["path"], headers):
            await answer.refuse(401, "UNAUTHENTICATED", "Send the header 'Authorization: Bearer TOKEN'.")
        elif _length(headers) > self._body_limit:
            await self._discard(receive)
            await answer.refuse(413, "BAD_REQUEST", self._too_large())
        else:
            await self._app(scope, self._counted(receive), answer)

    def _allowed(self, path: str, headers: MutableMapping[bytes, bytes]) -> bool:
        if self._expected is None or path in OPEN_PATHS:
            return True
        return hmac.compare_digest(headers.get(b"authorization", b""), self._expected)

    def _counted(self, receive: Receive) -> Receive:
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._body_limit:
                if message.get("more_body", False):
                    await self._discard(receive)
                raise TooLargeError(self._too_large())
            return message

        return counted

    async def _discard(self, receive: Receive) -> None:
        """Read on without keeping anything, within bounds: closed in the middle of a body, a client sees no answer."""
        left = DISCARDED * self._body_limit
        while left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return

    def _too_large(self) -> str:
        return f"The body is larger than {self._body_limit} bytes; send fewer rows at once."


class _Answer:
    """`send` with the headers that every answer carries."""

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send, self._request_id = send, request_id

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = [(b"x-request-id", self._request_id), (b"x-content-type-options", b"nosniff")]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await self._send(message)

    async def refuse(self, status: int, code: str, text: str) -> None:
        """Answer an error of the front itself."""
        body = orjson.dumps({"error_code": code, "message": text})
        length = (b"content-length", str(len(body)).encode())
        headers: list[Any] = [(b"content-type", b"application/json"), length, (b"connection", b"close")]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _length(headers: MutableMapping[bytes, bytes]) -> int:
    written = headers.get(b"content-length", b"0")
    return int(written) if written.isdigit() else 0
