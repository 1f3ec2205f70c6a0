"""The ASGI application of files: what is no JSON, and so does not go through the table of routes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson

from prefect_ml.artifacts.wire import DIGEST_HEADER, PREFIX, digest_header
from prefect_ml.errors import InvalidInputError, InvalidNameError
from prefect_ml.http.lanes import Lane
from prefect_ml.http.refusal import RefusedError, refuse, respond
from prefect_ml.protocol.artifacts import direct
from prefect_ml.protocol.artifacts.download import download
from prefect_ml.protocol.artifacts.listing import SERVED, Folder, list_own
from prefect_ml.protocol.artifacts.places import checked
from prefect_ml.protocol.artifacts.queries import (
    file_of_logged_model,
    file_of_run,
    file_of_version,
    new_file_of_run,
)
from prefect_ml.protocol.artifacts.upload import upload
from prefect_ml.protocol.refusals import refusal
from prefect_ml.protocol.route import AJAX
from prefect_ml.protocol.wire import from_query

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from prefect_ml.http.bodies import Bodies
    from prefect_ml.protocol.backend import Backend
    from prefect_ml.settings import Settings

# Pieces of files that may wait for a thread: one for each file in hand, of which there are fewer.
_PIECES = 1 << 20

_UNDER = "|".join(re.escape(prefix) for prefix in SERVED)
_AJAX = re.escape(AJAX)


@dataclass(frozen=True, slots=True)
class _Call:
    """A request, with the parts of its path and the parameters of its URL by name."""

    scope: Scope
    receive: Receive
    send: Send
    named: dict[str, str]

    @property
    def method(self) -> str:
        method: str = self.scope["method"]
        return method

    @property
    def name(self) -> str:
        return self.named.get("name", "")


class FileRoutes:
    """The application; all other paths go to `otherwise`.

    Args:
        backend: what is served.
        otherwise: the application of all other paths.
        settings: its limits: threads, files in hand, bytes of a file, and seconds without progress.
        bodies: reads the bodies of requests that are no files.
    """

    def __init__(self, backend: Backend, otherwise: ASGIApp, settings: Settings, bodies: Bodies) -> None:
        self._here = backend
        self._otherwise = otherwise
        self._bodies = bodies
        self._lane = Lane("files", settings.server_threads, _PIECES)
        self._limit = settings.server_max_file
        self._seconds = settings.server_body_timeout
        self._most = settings.server_threads + settings.server_waiting
        self._in_hand = 0
        answers: dict[str, tuple[str, Callable[[_Call], Coroutine[Any, Any, None]]]] = {
            rf"(?:(?:{_UNDER})/artifacts|{re.escape(PREFIX)})/(?P<name>.*)": ("GET HEAD PUT DELETE", self._any),
            re.escape(PREFIX): ("GET", self._list),
            rf"(?:{_UNDER})/presigned/(?P<name>.*)": ("GET", self._presigned),
            rf"(?:{_UNDER})/mpu/(?P<step>create|complete|abort)(?:/(?P<name>.*))?": ("POST", self._direct),
            rf"(?:{_AJAX})?/get-artifact": ("GET HEAD", self._sought(file_of_run)),
            rf"(?:{_AJAX})?/model-versions/get-artifact": ("GET HEAD", self._sought(file_of_version)),
            rf"{_AJAX}/logged-models/(?P<model_id>[^/]+)/artifacts/files": (
                "GET HEAD",
                self._sought(file_of_logged_model),
            ),
            rf"{_AJAX}/upload-artifact": ("POST", self._upload_to_run),
        }
        self._answers = [
            (re.compile(path, re.DOTALL), methods.split(), answer) for path, (methods, answer) in answers.items()
        ]

    def close(self) -> None:
        """Let the threads end."""
        self._lane.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._otherwise(scope, receive, send)
            return
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        match, methods, answer = found
        scope["route_template"] = "artifacts"
        self._in_hand += 1
        try:
            _check(scope, methods)
            self._check_room()
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
            in_path = {name: value for name, value in match.groupdict().items() if value is not None}
            await answer(_Call(scope, receive, noted, {**query, **in_path}))
        except Exception as error:
            if started:  # too late to say so: the server breaks the connection
                raise
            await refuse(send, refusal(error, scope.get("request_id", "")))
        finally:
            self._in_hand -= 1

    def _check_room(self) -> None:
        if self._in_hand > self._most:
            raise RefusedError(
                503,
                "TEMPORARILY_UNAVAILABLE",
                f"{self._most} files are in hand already; try again in a second.",
                {"Retry-After": "1"},
            )

    def _find(self, path: str) -> tuple[re.Match[str], list[str], Callable[[_Call], Coroutine[Any, Any, None]]] | None:
        for pattern, methods, answer in self._answers:
            if match := pattern.fullmatch(path):
                return match, methods, answer
        return None

    async def _any(self, call: _Call) -> None:
        """A file below the server's root, by its name there."""
        name = checked(call.name)
        if call.method == "PUT":
            await self._upload(call, lambda: name)
        elif call.method == "DELETE":
            await self._lane.run(self._here.artifacts.delete, name)
            await _json(call, {})
        else:
            await self._download(call, lambda: name)

    async def _list(self, call: _Call) -> None:
        request = from_query(Folder, list(call.named.items()), {})
        await _json(call, await self._lane.run(list_own, self._here, request))

    async def _presigned(self, call: _Call) -> None:
        await _json(call, await self._lane.run(direct.presigned, self._here, call.name))

    async def _direct(self, call: _Call) -> None:
        step = direct.UPLOADS[call.named["step"]]
        body = await self._bodies.read(call.scope, dict(call.scope["headers"]), call.receive)
        try:
            await _json(call, await self._lane.run(step, self._here, call.name, body))
        finally:
            self._bodies.release(body)

    def _sought(self, find: Callable[[Backend, dict[str, str]], str]) -> Callable[[_Call], Coroutine[Any, Any, None]]:
        async def answer(call: _Call) -> None:
            await self._download(call, lambda: find(self._here, call.named))

        return answer

    async def _upload_to_run(self, call: _Call) -> None:
        if dict(call.scope["headers"]).get(b"content-length") == b"0":
            raise InvalidInputError("Request must specify data. Send the file as the body.")
        await self._upload(call, lambda: new_file_of_run(self._here, call.named))

    async def _download(self, call: _Call, find: Callable[[], str]) -> None:
        artifacts = self._here.artifacts
        await download(
            lambda: artifacts.reader(find()),
            call.scope,
            call.receive,
            call.send,
            lane=self._lane,
            seconds=self._seconds,
        )

    async def _upload(self, call: _Call, find: Callable[[], str]) -> None:
        artifacts = self._here.artifacts
        info = await upload(
            lambda: artifacts.writer(find()),
            call.scope,
            call.receive,
            self._lane,
            limit=self._limit,
            seconds=self._seconds,
        )
        await _json(call, {}, {DIGEST_HEADER: digest_header(info.digest or "")})


def _check(scope: Scope, methods: list[str]) -> None:
    if scope["method"] not in methods:
        allowed = ", ".join(methods)
        sentence = f"{scope['method']} is not answered here; use {allowed}."
        raise RefusedError(405, "BAD_REQUEST", sentence, {"Allow": allowed})
    try:
        unquote_to_bytes(scope.get("raw_path", b"")).decode()
    except UnicodeDecodeError as error:  # what is in scope["path"] then is another name than the one that was sent
        raise InvalidNameError("Invalid path. A name in a URL is UTF-8, percent-encoded once.") from error


async def _json(call: _Call, answer: object, headers: dict[str, str] | None = None) -> None:
    await respond(call.send, 200, orjson.dumps(answer), headers or {})
