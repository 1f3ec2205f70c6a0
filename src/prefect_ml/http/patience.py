"""A connection whose client does not come to the point: neither head nor silence may take for ever."""

from __future__ import annotations

import contextlib
import fcntl
import sys
import termios
from array import array
from typing import TYPE_CHECKING

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from prefect_ml.http.bodies import WHOLE
from prefect_ml.http.packets import OnePacket

if TYPE_CHECKING:
    import asyncio

# So many times as long as the head may take, a client may read nothing more of its answer.
_STALLS = 10
# Bytes of a body that are given to the application at once.
_HELD_WHOLE = 16 << 10
TOO_LARGE = 431
_BAD = 400
SENTENCES = {
    TOO_LARGE: "The head of the request has more than 64 KiB; send what is long in the body.",
    _BAD: "This is no request of HTTP/1.1.",
}


class Patience(OnePacket):
    """Has one of uvicorn's protocols close connections on which a head is not whole in time; stands before it.

    uvicorn itself bounds only the silence after an answer. The bodies are bounded where they are read.

    Attributes:
        head_seconds: that the head of a request may take from its first byte on, and a new connection to send that.
    """

    head_seconds = 30.0
    _head_since: float | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait(self.head_seconds)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_since = None
            if not self.cycle.more_body and len(self.cycle.body) < _HELD_WHOLE:
                # Said before the application's task, made just now, begins.
                self.cycle.scope[WHOLE] = True  # type: ignore[literal-required]  # a scope is open to its servers
        elif not self.transport.is_closing():
            if self._head_since is None:
                self._head_since = self.loop.time()
            self._wait(self._head_since + self.head_seconds - self.loop.time())

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # A client that does not read its answer would keep it in memory for as long as it likes.
        self.loop.call_later(self.head_seconds, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reading(None)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_awaiting()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_awaiting()

    def _await_reading(self, before: int | None) -> None:
        """Drop an answer of which the client has read nothing since `before` bytes of it were left."""
        left = self.transport.get_write_buffer_size() + _sent_in_vain(self.transport)
        if left == before:
            self.transport.abort()
        else:
            self._unread = self.loop.call_later(_STALLS * self.head_seconds, self._await_reading, left)

    def _stop_awaiting(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _wait(self, seconds: float) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(max(0.0, seconds), self.timeout_keep_alive_handler)


class PatientProtocol(Patience, H11Protocol):
    """HTTP/1.1 over h11, for the setting `http` of uvicorn; see `Patience`."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's parameter
        """Answer what is no request, in the form of all refusals; called while h11's error is handled."""
        hint = getattr(sys.exception(), "error_status_hint", _BAD)
        status = hint if hint in SENTENCES else _BAD
        if self.conn.our_state is h11.ERROR or (self.cycle is not None and not self.cycle.response_complete):
            self.transport.close()  # in the middle of another answer
            return
        body = orjson.dumps({"error_code": "BAD_REQUEST", "message": SENTENCES[status]})
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _sent_in_vain(transport: asyncio.Transport) -> int:
    """Bytes that the kernel has taken and the client has not: it takes more only when a good part of them is gone."""
    number = array("i", [0])
    with contextlib.suppress(OSError):
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, number)
    return number[0]


def patient(seconds: float) -> type[PatientProtocol]:
    """The protocol with this time for a head."""
    return type("PatientProtocol", (PatientProtocol,), {"head_seconds": seconds})
