"""Taking a file from a client: in pieces, published when it is whole."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from prefect_ml.artifacts.durable import CHUNK
from prefect_ml.http.refusal import RefusedError
from prefect_ml.protocol.artifacts.headers import announced_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope

    from prefect_ml.artifacts.contract import ArtifactWriter
    from prefect_ml.entities import ArtifactInfo
    from prefect_ml.protocol.artifacts.threads import Threads

# Seconds in which some of a body must come: a client that sends nothing must not hold a file open for ever.
IDLE = 60.0


class CutError(Exception):
    """The client went away before the end of its body: there is nobody to answer."""


async def upload(
    begin: Callable[[], ArtifactWriter], scope: Scope, receive: Receive, threads: Threads, limit: int
) -> ArtifactInfo:
    """Write the body of a request.

    Args:
        begin: gives the writer; called in a thread, as all of the writer's methods.
        scope: of the request; its digest, when it has one, is compared.
        receive: of the request.
        threads: where the writer works.
        limit: bytes that the file may have.

    Raises:
        CutError: the body broke off.
        RefusedError: the file is too large, or nothing came for a minute.
    """
    headers = dict(scope["headers"])
    expected = announced_digest(headers)
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    writer = await threads.run(begin)
    try:
        size = 0
        waiting = bytearray()
        more = True
        while more:
            piece, more = await _next(receive)
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            waiting += piece
            if len(waiting) >= CHUNK or not more:
                await threads.run(writer.write, bytes(waiting))
                waiting.clear()
        return await threads.run(writer.commit, expected)
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(threads.run(writer.abort))


async def _next(receive: Receive) -> tuple[bytes, bool]:
    try:
        message = await asyncio.wait_for(receive(), IDLE)
    except TimeoutError as error:
        raise RefusedError(
            408,
            "TEMPORARILY_UNAVAILABLE",
            f"Nothing of the file came for {IDLE:.0f} seconds; send it again.",
            {"Connection": "close"},
        ) from error
    if message["type"] == "http.disconnect":
        raise CutError
    return message.get("body", b""), message.get("more_body", False)


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        413,
        "INVALID_PARAMETER_VALUE",
        f"The file has more than {limit:,} bytes; have the server take more (PREFECT_ML_SERVER_MAX_FILE).",
        {"Connection": "close"},
    )
