"""One line of the log for each request: what was asked for and what came of it, never what was sent."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import orjson

if TYPE_CHECKING:
    from starlette.types import Scope

LogFormat = Literal["json", "text", "off"]

_FAILED = 500
_FIELD = "request"
_TEXT = "%(method)s %(route)s answered %(status)d in %(duration_ms)s ms to %(client)s (request %(request_id)s)"

_log = logging.getLogger("prefect_ml.requests")


class RequestLog:
    """Writes a line for each request as JSON; as text for those alone that the server failed to answer.

    Args:
        form: the setting `server_log`.
    """

    def __init__(self, form: LogFormat) -> None:
        self._all = form == "json"
        self._none = form == "off"

    def write(self, scope: Scope, route: str, status: int, seconds: float, size: int) -> None:
        """Write the line of a request.

        Args:
            scope: of the request.
            route: the template of its route; its path may hold names, its query and its body secrets.
            status: of the answer.
            seconds: that it took.
            size: bytes of the answer's body.
        """
        failed = status >= _FAILED
        if self._none or not (failed or self._all):
            return
        client = scope.get("client")
        request = {
            "request_id": scope.get("request_id", ""),
            "method": scope["method"],
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
            "bytes": size,
            "client": client[0] if client else "",
        }
        level = logging.WARNING if failed else logging.INFO
        message = (
            "%(method)s %(route)s answered %(status)d in %(duration_ms)s ms to %(client)s (request %(request_id)s)"
        )
        _log.log(level, message, request, extra={_FIELD: request})


class JsonLines(logging.Formatter):
    """Log records as lines of JSON: time, level, logger, message, and the fields of a request."""

    def format(self, record: logging.LogRecord) -> str:
        request = getattr(record, _FIELD, None)
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
        }
        if request is not None:
            line |= request
        else:
            line |= {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def log_as(form: LogFormat) -> None:
    """Have the server's log written to standard error in one form, unless the process logs in its own way."""
    for name, level in {"prefect_ml": logging.INFO, "uvicorn.error": logging.ERROR}.items():
        log = logging.getLogger(name)
        if not log.hasHandlers():
            handler = logging.StreamHandler()
            text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
            handler.setFormatter(JsonLines() if form == "json" else text)
            log.addHandler(handler)
            log.setLevel(level)
