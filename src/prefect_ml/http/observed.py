"""What is noted of every request: how long it took and what came of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from prefect_ml.http.metrics import RequestMetrics
    from prefect_ml.http.request_log import RequestLog

_CLOSE = (b"connection", b"close")
_NO_ROUTE = "none"
# What nginx calls a request whose client was gone before the answer.
_GONE = 499


class Observed:
    """The outermost application: counts, logs, and has connections closed when the server ends.

    Args:
        app: what lies behind.
        metrics: that count each request.
        log: that has a line for it.

    Attributes:
        leaving: whether each answer closes its connection.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, log: RequestLog) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log
        self.leaving = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = _GONE
        size = 0

        async def noted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.leaving:
                    message["headers"] = [*message["headers"], _CLOSE]
            else:
                size += len(message.get("body", b""))
            await send(message)

        self._metrics.begin()
        try:
            await self._app(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - start
            route = _template(scope)
            self._metrics.end(scope["method"], route, status, seconds)
            self._log.write(scope, route, status, seconds, size)


def _template(scope: Scope) -> str:
    """The template of the request's route; the table of routes tells it, or else the application behind it."""
    return str(scope.get("route_template") or getattr(scope.get("route"), "path", _NO_ROUTE))
