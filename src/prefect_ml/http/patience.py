"""A connection whose client does not come to the point: neither head nor silence may take for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.http.packets import OnePacketProtocol

if TYPE_CHECKING:
    import asyncio

# Seconds that the head of a request may take, from its first byte to its last, and a new connection to send that byte.
_HEAD = 10.0


class PatientProtocol(OnePacketProtocol):
    """HTTP/1.1, closing connections on which a head is not whole in time; for the setting `http` of uvicorn.

    uvicorn itself bounds only the silence after an answer. The bodies are bounded where they are read.
    """

    _head_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait(_HEAD)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_since = None
        elif not self.transport.is_closing():
            if self._head_since is None:
                self._head_since = self.loop.time()
            self._wait(self._head_since + _HEAD - self.loop.time())

    def _wait(self, seconds: float) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(max(0.0, seconds), self.timeout_keep_alive_handler)
