"""Answers packed by gzip, for clients that ask for it: JSON, since binary numbers hardly become shorter by it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prefect_ml.http.gzipped import accepts_gzip, packed
from prefect_ml.serving.forms import JSON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.serving.forms import Answer

# Bytes of an answer from which on it is packed; a smaller one is there as soon as it is packed.
LARGE = 64 << 10
_PACKED = ((b"content-encoding", b"gzip"), (b"vary", b"accept-encoding"))


async def packed_answer(
    headers: Mapping[bytes, bytes], answer: Answer
) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """What is sent of an answer, and the headers that say how it is packed.

    Args:
        headers: of the request.
        answer: one of `LARGE` bytes at least.
    """
    if answer.headers[0] != JSON or not accepts_gzip(headers.get(b"accept-encoding", b"")):
        return answer.body, ()
    return await asyncio.to_thread(packed, answer.body), _PACKED
