"""Taking a file from a client: in pieces, published when it is whole."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from prefect_ml.artifacts.durable import CHUNK
from prefect_ml.http.bodies import GoneError
from prefect_ml.http.refusal import RefusedError
from prefect_ml.protocol.artifacts.headers import announced_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope

    from prefect_ml.artifacts.contract import ArtifactWriter
    from prefect_ml.entities import ArtifactInfo
    from prefect_ml.http.lanes import Lane


async def upload(
    begin: Callable[[], ArtifactWriter], scope: Scope, receive: Receive, lane: Lane, *, limit: int, seconds: float
) -> ArtifactInfo:
    """Write the body of a request.

    Args:
        begin: gives the writer; called in a thread, as all of the writer's methods.
        scope: of the request; its digest, when it has one, is compared.
        receive: of the request.
        lane: where the writer works; a thread is held for one piece of the file, never for all of it.
        limit: bytes that the file may have.
        seconds: without any of the body, after which the upload is given up.

    Raises:
        GoneError: the body broke off.
        RefusedError: the file is too large, or its sender fell silent.
    """
    headers = dict(scope["headers"])
    expected = announced_digest(headers)
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    writer = await lane.run(begin)
    # The next piece is received while the last one is hashed and written.
    written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    written.set_result(None)
    try:
        size = 0
        waiting = bytearray()
        more = True
        while more:
            piece, more = await _next(receive, seconds)
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            waiting += piece
            if len(waiting) >= CHUNK or not more:
                await written
                written = asyncio.ensure_future(lane.run(writer.write, bytes(waiting)))
                waiting.clear()
        await written
        return await lane.run(writer.commit, expected)
    finally:
        await asyncio.gather(written, return_exceptions=True)  # told above, or of no interest any more
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(lane.run(writer.abort))


async def _next(receive: Receive, seconds: float) -> tuple[bytes, bool]:
    try:
        message = await asyncio.wait_for(receive(), seconds)
    except TimeoutError:
        raise RefusedError(
            408,
            "REQUEST_TIMEOUT",
            f"Nothing of the file came for {seconds:g} s; send it again.",
            {"Connection": "close"},
        ) from None
    if message["type"] != "http.request":
        raise GoneError
    return message.get("body", b""), message.get("more_body", False)


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        413,
        "INVALID_PARAMETER_VALUE",
        f"The file has more than {limit:,} bytes; have the server take more (PREFECT_ML_SERVER_MAX_FILE).",
        {"Connection": "close"},
    )
