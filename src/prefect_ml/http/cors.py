"""Pages that this machine serves on another port may read the answers, as with MLflow's server (CORS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.http.gate import LOCAL_NAMES, origin_host

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
    (b"access-control-allow-headers", b"authorization, content-type, x-request-id"),
    (b"access-control-max-age", b"600"),
]


class LocalPages:
    """Answers what a browser asks before it sends a request of a page of this machine, and allows the page to read.

    Pages from elsewhere get no such header, so that their browser keeps the answer from them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = _local_origin(scope) if scope["type"] == "http" else None
        if origin is None:
            await self._app(scope, receive, send)
            return
        allowed = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        if scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": [*allowed, *_PREFLIGHT]})
            await send({"type": "http.response.body", "body": b""})
            return

        async def readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *allowed]
            await send(message)

        await self._app(scope, receive, readable)


def _local_origin(scope: Scope) -> bytes | None:
    origin: bytes | None = next((value for name, value in scope["headers"] if name == b"origin"), None)
    return origin if origin is not None and origin_host(origin) in LOCAL_NAMES else None
