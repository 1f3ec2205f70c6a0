"""A proxy before a tracking server that holds one call in the middle, so that its caller can be killed there."""

from __future__ import annotations

import contextlib
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing import Self

# Of one connection, not of what is asked over it.
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Held:
    """The first call that fits is held until `let_go`, and its caller never hears of it.

    Args:
        path: its last part, such as "promote".
        marker: bytes that its body has.
        done: whether the server carries it out first, so that only the answer is lost.
    """

    def __init__(self, path: str, marker: bytes, *, done: bool) -> None:
        self.path, self.marker, self.done = path, marker, done
        self._reached, self._over = threading.Event(), threading.Event()

    def fits(self, path: str, body: bytes) -> bool:
        return path.rpartition("/")[2] == self.path and self.marker in body

    @property
    def reached(self) -> bool:
        """Whether the call is held now, or was."""
        return self._reached.is_set()

    def let_go(self) -> None:
        self._over.set()

    def stay(self) -> None:
        """In the thread of the call."""
        self._reached.set()
        self._over.wait(120)


class HoldingProxy:
    """Passes whole requests and answers on, but for those that are held; `with` starts and stops it.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._lock = threading.Lock()
        self._waiting: list[Held] = []
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                body = self._body()
                held = take(self.path, body)
                if held is not None and not held.done:
                    held.stay()
                    self.close_connection = True
                    return
                connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=60)
                with contextlib.closing(connection):
                    headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
                    connection.request(self.command, self.path, body, headers)
                    answer = connection.getresponse()
                    content = answer.read()
                if held is not None:
                    held.stay()
                    self.close_connection = True
                    return
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP_BY_HOP:
                        self.send_header(name, value)
                length = answer.getheader("content-length") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do  # noqa: N815  http.server's names

            def _body(self) -> bytes:
                if self.headers.get("transfer-encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                pieces = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(pieces)

            def log_message(self, *_: object) -> None:
                """Say nothing: it goes to the standard error of the tests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def hold(self, path: str, marker: str, *, done: bool) -> Held:
        """Have the next call that fits held."""
        held = Held(path, marker.encode(), done=done)
        with self._lock:
            self._waiting.append(held)
        return held

    def _take(self, path: str, body: bytes) -> Held | None:
        with self._lock:
            for held in self._waiting:
                if held.fits(path, body):
                    self._waiting.remove(held)
                    return held
        return None
