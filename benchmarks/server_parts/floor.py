"""What uvicorn takes around the smallest application: reads a request and answers `{}`, or streams a file.

python floor.py 4321 /tmp/folder
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_BLOCK = 1 << 20


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = Path(sys.argv[2]) / "floor.bin"
    if scope["method"] == "PUT":
        with path.open("wb") as file:
            more = True
            while more:
                message = await receive()
                file.write(message.get("body", b""))
                more = message.get("more_body", False)
        await _answer(send, 2, b"{}")
    elif scope["path"] == "/file":
        with path.open("rb") as file:
            left = path.stat().st_size
            await _begin(send, left)
            while left:
                block = file.read(_BLOCK)
                left -= len(block)
                await send({"type": "http.response.body", "body": block, "more_body": left > 0})
    else:
        await receive()
        await _answer(send, 2, b"{}")


async def _begin(send: Send, size: int) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _answer(send: Send, size: int, body: bytes) -> None:
    await _begin(send, size)
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False)
