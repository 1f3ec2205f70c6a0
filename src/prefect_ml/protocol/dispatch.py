"""From an ASGI request to its route and back: the hot path of the server.

Paths without parameters, which are nearly all, are found in one look at a dictionary; FastAPI's own routing costs
more than the write that most requests are about.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import orjson

from prefect_ml.http.refusal import RefusedError, refuse, respond
from prefect_ml.protocol.origin import request_origin
from prefect_ml.protocol.refusals import refusal
from prefect_ml.protocol.together import Together
from prefect_ml.protocol.wire import from_body, from_query
from prefect_ml.store.origin import within

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from prefect_ml.http.bodies import Bodies
    from prefect_ml.http.lanes import Lanes
    from prefect_ml.protocol.backend import Backend
    from prefect_ml.protocol.route import Route

_PARAMETER = re.compile(r"\{(\w+(?::path)?)\}")
_JSON = b"application/json"
# Bytes of a body beyond which reading it would hold up the event loop.
_QUICK_BODY = 16 << 10
# What a body that is too large is called in the protocol.
TOO_LARGE = "INVALID_PARAMETER_VALUE"


class Dispatch:
    """The ASGI application of the routes; what is none of them goes to `otherwise`.

    Args:
        routes: all of them.
        backend: what they work on.
        otherwise: the application of all other paths.
        lanes: the threads that work on requests; searches have their own, so that they hold nothing else up.
        bodies: reads the bodies of requests.
    """

    def __init__(
        self, routes: Iterable[Route], backend: Backend, otherwise: ASGIApp, *, lanes: Lanes, bodies: Bodies
    ) -> None:
        self._backend = backend
        self._otherwise = otherwise
        self._lanes = lanes
        self._bodies = bodies
        self._together = Together(backend.at_once)
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], str, dict[str, Route]]] = []
        patterns: dict[str, dict[str, Route]] = {}
        for route in routes:
            for path in route.paths:
                place = (patterns if "{" in path else self._exact).setdefault(path, {})
                place.update(dict.fromkeys(route.methods, route))
        for path, methods in patterns.items():
            self._patterns.append((_pattern(path), path, methods))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        template, found, path = self._find(scope["path"]) if scope["type"] == "http" else ("", None, {})
        if found is None:
            await self._otherwise(scope, receive, send)
            return
        scope["route_template"] = template
        body = b""
        try:
            route = _route(scope, found)
            if scope["method"] != "GET":
                body = await self._read(scope, receive)
            quick = route.quick and len(body) <= _QUICK_BODY
            answer = await self._together.run(partial(self._work, route, scope, body, path)) if quick else None
            if answer is None:
                lane = self._lanes.searches if route.searches else self._lanes.quick
                answer = await lane.run(self._work, route, scope, body, path)
        except Exception as error:  # noqa: BLE001  every failure is answered
            await refuse(send, refusal(error, scope.get("request_id", "")))
        else:
            await respond(send, 200, answer, {})
        finally:
            self._bodies.release(body)

    def _find(self, path: str) -> tuple[str, dict[str, Route] | None, Mapping[str, str]]:
        if (exact := self._exact.get(path)) is not None:
            return path, exact, {}
        for pattern, template, methods in self._patterns:
            if match := pattern.fullmatch(path):
                return template, methods, match.groupdict()
        return "", None, {}

    def _work(self, route: Route, scope: Scope, body: bytes, path: Mapping[str, str]) -> bytes:
        if scope["method"] == "GET":
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            request = from_query(route.request, query, path)
        else:
            request = from_body(route.request, body, path)
        with within(lambda: request_origin(scope, request=request)):
            return orjson.dumps(route.work(self._backend, request))

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        headers = dict(scope["headers"])
        _check_type(headers)
        return await self._bodies.read(scope, headers, receive)


def _check_type(headers: dict[bytes, bytes]) -> None:
    given = headers.get(b"content-type")
    if given is None:
        if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
            return
        raise RefusedError(400, "INVALID_PARAMETER_VALUE", "Bad Request. Content-Type header is missing.")
    if given.partition(b";")[0].strip().lower() != _JSON:
        raise RefusedError(
            400, "INVALID_PARAMETER_VALUE", "Bad Request. Content-Type must be one of ['application/json']."
        )


def _route(scope: Scope, found: Mapping[str, Route]) -> Route:
    if route := found.get(scope["method"]):
        return route
    allowed = ", ".join(sorted(found))
    sentence = f"{scope['method']} is not answered here; use {allowed}."
    raise RefusedError(405, "BAD_REQUEST", sentence, {"Allow": allowed})


def _pattern(path: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(path)
    # Every second part is the name of a parameter, which takes one part of the path, or with `:path` all that is left.
    texts = (re.escape(part) if at % 2 == 0 else _group(part) for at, part in enumerate(parts))
    return re.compile("".join(texts), re.DOTALL)  # a name may have a line break in it


def _group(parameter: str) -> str:
    name, _, kind = parameter.partition(":")
    return f"(?P<{name}>{'.+' if kind else '[^/]+'})"
