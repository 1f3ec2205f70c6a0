"""An answer in one packet: what is written to a connection in one turn of the event loop leaves together.

uvicorn writes the head of an answer and its body one after the other, which are two system calls and two packets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.h11_impl import H11Protocol as Protocol
else:
    Protocol = object

# Bytes beyond which nothing is held back; large bodies gain nothing, and must be felt by the flow control.
_HELD = 16 << 10


class OnePacket(Protocol):
    """Has one of uvicorn's protocols write to a transport that gathers what is written to it; stands before it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._gathering = GatheringTransport(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._gathering))

    def on_response_complete(self) -> None:
        # A client that is alone need not wait for the turn's end; one of several, woken now, would interrupt the turn.
        if len(self.tasks) <= 1:
            self._gathering.flush()
        super().on_response_complete()


class GatheringTransport:
    """A transport whose small writes of one turn of the loop are sent as one.

    Args:
        transport: what it writes to; everything but writing and closing is left to it.
        loop: of the connection.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _HELD:
            self.flush()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what is held."""
        if self._held and not self._transport.is_closing():
            self._transport.write(b"".join(self._held))
        self._held.clear()
        self._size = 0
