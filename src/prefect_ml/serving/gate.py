"""What every request passes first: its id, the guard, and the headers of every answer."""

from __future__ import annotations

import hmac
import re
import uuid
from typing import TYPE_CHECKING

import orjson

from prefect_ml.serving.refusal import RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
# The probe of a load balancer or an orchestrator knows no secrets, and learns none.
_OPEN_PATHS = frozenset({"/ping"})
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Gate:
    """Asks for the bearer token on every path but `/ping`; without a token, for a Host header of this machine.

    The Host check keeps web pages out whose own name was made to resolve to this machine (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: Collection[str] = LOCAL_NAMES) -> None:
        self._app = app
        self._token = None if token is None else b"Bearer " + token.encode()
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex.encode()
        scope["request_id"] = request_id.decode()

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS, (b"x-request-id", request_id)]
            await send(message)

        try:
            if scope["path"] not in _OPEN_PATHS:
                self._check(headers)
        except RefusedError as refused:
            await refuse(stamped, refused)
        else:
            await self._app(scope, receive, stamped)

    def _check(self, headers: dict[bytes, bytes]) -> None:
        if self._token is None:
            host = _host_name(headers.get(b"host", b"").decode("latin-1"))
            if host not in self._hosts:
                raise RefusedError(
                    403,
                    "PERMISSION_DENIED",
                    "Invalid Host header. Without a token, only this machine is served, under "
                    f"{', '.join(sorted(self._hosts))}; set PREFECT_ML_SERVE_TOKEN to serve others.",
                )
        elif not hmac.compare_digest(headers.get(b"authorization", b""), self._token):
            raise RefusedError(
                401,
                "UNAUTHENTICATED",
                "Send the token of this server in the header 'Authorization: Bearer <token>'.",
                {"WWW-Authenticate": "Bearer"},
            )


async def refuse(send: Send, refusal: RefusedError) -> None:
    """Send a refusal as JSON."""
    # A request may have quoted half a surrogate pair, which is no UTF-8.
    message = str(refusal).encode(errors="replace").decode()
    body = orjson.dumps({"error_code": refusal.code, "message": message})
    await respond(send, refusal.status, body, refusal.headers)


async def respond(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Send a whole JSON answer."""
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    raw += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _host_name(host: str) -> str:
    """The name of a Host header without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
