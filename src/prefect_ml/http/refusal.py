"""What a server answers when it does not do what a request asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from prefect_ml.errors import PrefectMLError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Send


class RefusedError(PrefectMLError):
    """A request is refused with this HTTP status.

    Attributes:
        status: the HTTP status.
        code: the `error_code` of the answer.
        headers: headers of the answer beside the usual ones.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


async def refuse(send: Send, refusal: RefusedError) -> None:
    """Send a refusal as JSON."""
    # A request may have quoted half a surrogate pair, which is no UTF-8.
    message = str(refusal).encode(errors="replace").decode()
    body = orjson.dumps({"error_code": refusal.code, "message": message})
    await respond(send, refusal.status, body, refusal.headers)


async def respond(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Send a whole JSON answer."""
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    raw += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
