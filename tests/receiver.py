"""A real receiver of webhooks, on loopback."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Call:
    """What the receiver was sent."""

    path: str
    headers: Mapping[str, str]
    text: str
    at: float

    @property
    def delivery_id(self) -> str:
        return self.headers["x-mlflow-delivery-id"]

    @property
    def said(self) -> dict[str, Any]:
        return json.loads(self.text)

    @property
    def event(self) -> str:
        return f"{self.said['entity']}.{self.said['action']}"

    @property
    def data(self) -> dict[str, Any]:
        return self.said["data"]


@dataclass
class Answer:
    """What the receiver answers; a body that is a function writes it itself."""

    status: int = 200
    body: bytes | Callable[[Any], None] = b'{"received": true}'
    headers: Mapping[str, str] = field(default_factory=dict)


class Receiver:
    """Records calls and answers them, the first ones as planned; `with` starts and stops it.

    Args:
        plan: the first answers; after them, and by default, 200.
        trust: makes it speak TLS.
    """

    def __init__(self, plan: Sequence[Answer] = (), trust: ssl.SSLContext | None = None) -> None:
        self.calls: list[Call] = []
        self.connections = 0
        self.plan = list(plan)
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if trust is not None:
            self._server.socket = trust.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for(self, number: int, seconds: float = 20) -> list[Call]:
        """The calls, as soon as there are so many."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while len(self.calls) < number:
                assert self._changed.wait(deadline - time.monotonic()), f"{len(self.calls)} calls of {number} came"
            return list(self.calls)

    def events(self) -> list[str]:
        return [call.event for call in self.calls]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["content-length"])).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver._take(Call(self.path, headers, text, time.time()))
                if callable(answer.body):
                    answer.body(self)
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def _take(self, call: Call) -> Answer:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
            return self.plan.pop(0) if self.plan else Answer()
