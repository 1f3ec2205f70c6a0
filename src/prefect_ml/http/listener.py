"""The socket of a server, and how its process is told to stop."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import signal
import socket
import threading
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import uvicorn

# Connections that wait to be accepted, those during the start included.
BACKLOG = 2048


@contextlib.contextmanager
def listening(host: str, port: int, *, guarded: bool, setting: str) -> Iterator[socket.socket]:
    """A listening socket, made before anything is loaded, so that a taken port is known at once.

    Args:
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        guarded: whether a token is asked for.
        setting: the environment variable of the token, for the message.

    Raises:
        InvalidInputError: it is no address to listen on, or one beyond this machine that is not guarded.
    """
    if not 0 <= port < 2**16:  # getaddrinfo would take the rest of a division
        raise InvalidInputError(f"{port} is no port to listen on; choose one up to 65535, or 0 for a free one.")
    try:
        family, type_, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, OverflowError, UnicodeError) as error:
        raise InvalidInputError(f"{host!r} with port {port} is no address to listen on: {error}.") from error
    if not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback and not guarded:
        raise InvalidInputError(
            f"{host!r} can be reached from other machines: set {setting} to the secret that clients shall send, or "
            "listen on 127.0.0.1."
        )
    # asyncio turns Nagle's algorithm off, which costs 40 ms an answer, only where the socket names TCP as its protocol.
    with socket.socket(family, type_, proto) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            raise InvalidInputError(f"Cannot listen on {host} port {port}: {error}; choose another port.") from error
        yield listener


def url_of(listener: socket.socket) -> str:
    """Where a socket listens, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def log_to_stderr(name: str) -> None:
    """Show what a server does, unless the process logs already in its own way."""
    log = logging.getLogger(name)
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)


@contextlib.contextmanager
def stopped_in_order(server: uvicorn.Server) -> Iterator[None]:
    """Within, SIGTERM and SIGINT stop the server, and are spent when it has drained.

    uvicorn raises the signal again after the drain, which would end the process as if it had failed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
