"""HTTP/1.1 parsed by httptools, several times as fast as h11, with the same patience."""

from __future__ import annotations

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from prefect_ml.http.patience import SENTENCES, TOO_LARGE, Patience

_BAD = 400
_PHRASES = {_BAD: b"400 Bad Request", TOO_LARGE: b"431 Request Header Fields Too Large"}
# Bytes that a request's head may have, as h11 bounds it; httptools does not.
_MOST_HEAD = 64 << 10


class QuickProtocol(Patience, HttpToolsProtocol):  # type: ignore[misc]  # to mypy, Patience is of h11
    """HTTP/1.1 over httptools; see `Patience`."""

    _in_head = True
    _head_size = 0

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > _MOST_HEAD and not self.transport.is_closing():
                self._refuse(TOO_LARGE)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's parameter
        """Answer what is no request, in the form of all refusals."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # in the middle of another answer
        else:
            self._refuse(_BAD)

    def _refuse(self, status: int) -> None:
        body = orjson.dumps({"error_code": "BAD_REQUEST", "message": SENTENCES[status]})
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (_PHRASES[status], len(body)) + body)
        self.transport.close()


def quick(seconds: float) -> type[QuickProtocol]:
    """The protocol with this time for a head."""
    return type("QuickProtocol", (QuickProtocol,), {"head_seconds": seconds})
