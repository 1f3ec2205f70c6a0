"""HTTP/1.1 over a kept connection, the same for every server: what a client's own library costs does not count."""

from __future__ import annotations

import socket
from typing import Any, Self

import orjson


class FailedError(Exception):
    """A server did not answer with 200."""


class Wire:
    """A connection to a server on this machine; `with` closes it.

    Args:
        port: the server's.
        seconds: for an answer.
    """

    def __init__(self, port: int, seconds: float = 120) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def post(self, path: str, body: dict[str, Any] | bytes) -> bytes:
        """The body of the answer to a POST of JSON."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        self._socket.sendall(self._head("POST", path, len(content), "Content-Type: application/json\r\n") + content)
        return self._answer()

    def get(self, path: str) -> bytes:
        self._socket.sendall(self._head("GET", path, 0, ""))
        return self._answer()

    def put_zeros(self, path: str, size: int) -> None:
        """Send a file of zeros."""
        self._socket.sendall(self._head("PUT", path, size, "Content-Type: application/octet-stream\r\n"))
        block = memoryview(bytes(1 << 20))
        for start in range(0, size, len(block)):
            self._socket.sendall(block[: min(len(block), size - start)])
        self._answer()

    def drain(self, path: str) -> int:
        """The size of what a GET gives, read and forgotten."""
        self._socket.sendall(self._head("GET", path, 0, ""))
        size, taken = self._begin(), len(self._rest)
        self._rest = b""
        room = memoryview(bytearray(1 << 20))
        while taken < size:
            taken += self._socket.recv_into(room[: min(len(room), size - taken)]) or self._gone()
        return size

    @staticmethod
    def _head(method: str, path: str, size: int, more: str) -> bytes:
        return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n{more}\r\n".encode()

    def _answer(self) -> bytes:
        size = self._begin()
        while len(self._rest) < size:
            self._rest += self._socket.recv(1 << 20) or self._gone()
        body, self._rest = self._rest[:size], self._rest[size:]
        return body

    def _begin(self) -> int:
        """The length of the body that follows the head."""
        while b"\r\n\r\n" not in self._rest:
            self._rest += self._socket.recv(1 << 16) or self._gone()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if status.split()[1] != "200":
            raise FailedError(status + self._rest.decode(errors="replace")[:500])
        return int(headers["content-length"])

    @staticmethod
    def _gone() -> Any:
        raise FailedError("The server closed the connection.")
