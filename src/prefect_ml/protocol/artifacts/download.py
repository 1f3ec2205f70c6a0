"""Sending a file to a client in pieces, broken off when it turns out to be corrupt."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from prefect_ml.artifacts.wire import DIGEST_HEADER, digest_header, etag
from prefect_ml.errors import PrefectMLError
from prefect_ml.http.refusal import RefusedError
from prefect_ml.protocol.artifacts.headers import content_disposition, content_type, part_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import Receive, Scope, Send

    from prefect_ml.artifacts.contract import ArtifactReader
    from prefect_ml.entities import ArtifactInfo
    from prefect_ml.http.lanes import Lane

_log = logging.getLogger("prefect_ml.protocol")

# A piece is 1 MiB, which a slow line may take its time for.
_SLOW = 10
# A file is somebody's content: saved by browsers, and where one shows it all the same, nothing in it runs.
_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"


async def download(
    begin: Callable[[], ArtifactReader], scope: Scope, receive: Receive, send: Send, *, lane: Lane, seconds: float
) -> None:
    """Answer with a file, or with the part of it that is asked for.

    What cannot be opened, and a file of one piece that is corrupt, raises before anything is sent. Of a longer one
    that is corrupt, all but the end is sent, and the answer is left unfinished: the server then breaks the connection,
    as it does when the client takes longer for a piece than ten times so many seconds.
    """
    reader = await lane.run(begin)
    try:
        info = reader.info
        part = part_of(dict(scope["headers"]), info)
        size = info.size or 0
        start, stop = part or (0, size)
        if part is not None and start == size:
            raise RefusedError(
                416,
                "INVALID_PARAMETER_VALUE",
                f"The file has {size:,} bytes; ask for a part of these.",
                {"Content-Range": f"bytes */{size}"},
            )
        status = 200 if part is None else 206
        headers = _headers(info, start, stop, whole=part is None)
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        pieces = reader.pieces(start, stop)
        first = await lane.run(next, pieces, b"")
        await send({"type": "http.response.start", "status": status, "headers": headers})
        sent = await _send_all(first, pieces, receive, send, lane=lane, seconds=seconds)
        if sent == stop - start:
            await send({"type": "http.response.body", "body": b""})
        else:
            _log.warning("Request %s got %d of %d bytes of %r", scope.get("request_id"), sent, stop - start, info.name)
    finally:
        await lane.run(reader.close)


async def _send_all(
    piece: bytes, pieces: Iterator[bytes], receive: Receive, send: Send, *, lane: Lane, seconds: float
) -> int:
    """Send the pieces, the next of which is read meanwhile; how many bytes were sent, fewer when something broke."""
    sent = 0
    gone = asyncio.ensure_future(_gone(receive))
    try:
        while piece and not gone.done():
            following = asyncio.ensure_future(lane.run(next, pieces, b""))
            await asyncio.wait_for(
                send({"type": "http.response.body", "body": piece, "more_body": True}), _SLOW * seconds
            )
            sent += len(piece)
            piece = await following
    except TimeoutError:
        _log.info("A client took longer than %g s for a piece of a file", _SLOW * seconds)
    except PrefectMLError as error:
        _log.error("A file that is being sent cannot be read on: %s", error)
    finally:
        gone.cancel()
    return sent


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _headers(info: ArtifactInfo, start: int, stop: int, *, whole: bool) -> list[tuple[bytes, bytes]]:
    found = {
        "content-type": content_type(info.name),
        "content-disposition": content_disposition(info.name),
        "content-length": str(stop - start),
        "content-security-policy": _POLICY,
    }
    if not whole:
        found["content-range"] = f"bytes {start}-{stop - 1}/{info.size}"
    if info.digest is not None:
        found |= {"accept-ranges": "bytes", "etag": etag(info.digest)}
        found[DIGEST_HEADER] = digest_header(info.digest)
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in found.items()]
