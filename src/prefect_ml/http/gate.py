"""What every request passes first: its id, the guard, and the headers of every answer."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prefect_ml.http.refusal import RefusedError, refuse

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from prefect_ml.http.rate import Rate

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"cache-control", b"no-store"),
]


class Gate:
    """Asks for the token on every path that is not open; without one, for a Host header of this machine.

    The Host check keeps web pages out whose own name was made to resolve to this machine (DNS rebinding), and the
    Origin check those that send forms to it (cross-site request forgery).

    Args:
        app: what lies behind.
        token: a bearer token, or the password of HTTP basic authentication under any user name; None for none.
        hosts: the Host headers that are served without a token; `*` is any.
        open_paths: paths that need none; a probe of a load balancer knows no secrets, and learns none.
        setting: the environment variable of the token, for the message.
        rate: bounds the requests of each client address, those with a wrong token included; None for no bound.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        hosts: Collection[str] = LOCAL_NAMES,
        open_paths: Collection[str] = ("/ping",),
        setting: str = "PREFECT_ML_SERVE_TOKEN",
        rate: Rate | None = None,
    ) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._hosts = frozenset(hosts)
        self._open_paths = frozenset(open_paths)
        self._setting = setting
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _ID.fullmatch(given) else os.urandom(16).hex().encode()
        scope["request_id"] = request_id.decode()

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message["headers"]
                policy = [] if any(name == _POLICY[0] for name, _ in own) else [_POLICY]
                message["headers"] = [*own, *_HEADERS, *policy, (b"x-request-id", request_id)]
            await send(message)

        try:
            if scope["path"] not in self._open_paths:
                if self._rate is not None:
                    self._rate.take(scope["client"][0] if scope.get("client") else "")
                self._check(scope["method"], headers)
        except RefusedError as refused:
            await refuse(stamped, refused)
        else:
            await self._app(scope, receive, stamped)

    def _check(self, method: str, headers: dict[bytes, bytes]) -> None:
        host = _host_name(headers.get(b"host", b"").decode("latin-1"))
        if self._token is None and self._hosts.isdisjoint((host, "*")):
            raise RefusedError(
                403,
                "PERMISSION_DENIED",
                "Invalid Host header - possible DNS rebinding attack detected. Without a token, only this machine is "
                f"served, under {', '.join(sorted(self._hosts))}; set {self._setting} to serve others.",
            )
        origin = headers.get(b"origin")
        if origin is not None and method not in _SAFE_METHODS and origin_host(origin) not in {*LOCAL_NAMES, host}:
            raise RefusedError(
                403, "PERMISSION_DENIED", "Cross-origin request blocked. Send it from a page of this server's own name."
            )
        if self._token is not None and not hmac.compare_digest(
            _secret(headers.get(b"authorization", b"")), self._token
        ):
            raise RefusedError(
                401,
                "UNAUTHENTICATED",
                "Send the token of this server in the header 'Authorization: Bearer <token>'.",
                {"WWW-Authenticate": "Bearer"},
            )


def _secret(authorization: bytes) -> bytes:
    """The token of an Authorization header by RFC 6750, or the password by RFC 7617; nothing when it has none."""
    scheme, _, given = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return given.strip()
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(given.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def origin_host(origin: bytes) -> str:
    """The host of an Origin header; "" for the `null` of a sandboxed page and for what is none."""
    try:
        return urlsplit(origin.decode("latin-1")).hostname or ""
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    """The name of a Host header without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
