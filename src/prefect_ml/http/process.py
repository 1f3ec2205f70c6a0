"""A process that serves: uvicorn's server, with an end at which no client that waits for its answer is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import uvicorn

from prefect_ml.http.listener import BACKLOG

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from prefect_ml.http.observed import Observed

# Seconds after the listener is closed in which clients that keep a connection busy get an answer that closes it.
_LEAVE = 0.25
# Connections that a process takes at a time: more, and the first of several workers to wake would take them all.
_TAKEN = 4
# Turns of the event loop that asyncio takes from an accepted connection to its protocol.
_TURNS = 4


class ServingProcess(uvicorn.Server):
    """Serves an application on a listening socket until it is told to stop.

    Then it refuses new connections, answers what is in hand, closes each kept connection after an answer that says so,
    and ends within the time to drain, or with the process that started it.

    Args:
        app: what is served.
        ready: called once, when it serves.
        drain: seconds that it may take to end.
        protocol: of the connections: `patience.patient` or `quick.quick` makes it.
        parent: the process that started it, which it does not outlive; None for a process of its own.
    """

    def __init__(
        self,
        app: Observed,
        ready: Callable[[], None],
        *,
        drain: int,
        protocol: type[asyncio.Protocol],
        parent: int | None = None,
    ) -> None:
        self._app = app
        self._ready = ready
        self._parent = parent
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                lifespan="on",
                ws="none",
                backlog=_TAKEN,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=drain,
                proxy_headers=False,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)  # asyncio made the kernel's queue as short as what it takes at a time
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        if self._parent is not None and os.getppid() != self._parent:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.leaving = True
        await self._let_nobody_in(sockets or [])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE):
                while self.server_state.connections:  # noqa: ASYNC110  uvicorn tells nobody of their end
                    await asyncio.sleep(0.01)
        await super().shutdown(sockets)

    async def _let_nobody_in(self, listeners: list[socket.socket]) -> None:
        """Close the listeners, and take over what the kernel has accepted on them: those clients wait already."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            loop.remove_reader(listener.fileno())
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        waiting = [connection for listener in listeners for connection in _accepted(listener)]
        for server in self.servers:
            server.close()
        for connection in waiting:
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """All connections that wait to be accepted."""
    with contextlib.suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            yield connection
