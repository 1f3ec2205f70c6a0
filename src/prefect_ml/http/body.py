"""Reading the body of a request, up to a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.http.refusal import RefusedError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope


async def read_body(scope: Scope, receive: Receive, most: int, setting: str) -> bytes:
    """The whole body.

    Args:
        scope: of the request.
        receive: its messages.
        most: bytes that it may have.
        setting: the environment variable of that bound, for the message.

    Raises:
        RefusedError: it is longer (413).
    """
    length = dict(scope["headers"]).get(b"content-length", b"")
    parts = bytearray()
    more = not (length.isdigit() and int(length) > most)
    while more:
        message = await receive()
        parts += message.get("body", b"")
        more = message.get("more_body", False) and len(parts) <= most
    if len(parts) > most or (length.isdigit() and int(length) > most):
        raise RefusedError(
            413,
            "REQUEST_TOO_LARGE",
            f"The body has more than {most:,} bytes; send it in parts, or have the server take more ({setting}).",
            {"Connection": "close"},
        )
    return bytes(parts)
