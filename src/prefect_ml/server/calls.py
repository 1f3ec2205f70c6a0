"""The server's side of `HttpStore`: every method of the store's contract, and nothing else of the store.

A write that carries an `Idempotency-Key` is applied once, however often it is sent.
"""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import TYPE_CHECKING

from prefect_ml import errors
from prefect_ml.errors import PrefectMLError, StoreUnavailableError
from prefect_ml.http.refusal import RefusedError, refuse, respond
from prefect_ml.protocol.origin import request_origin
from prefect_ml.protocol.sources import check_call
from prefect_ml.server.promotions import PATH as PROMOTIONS
from prefect_ml.server.rehashed import MOVING, rehashed
from prefect_ml.store.calls import KEY_HEADER, PREFIX, Call, calls, encode_error, encode_result
from prefect_ml.store.origin import within

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from prefect_ml.artifacts import ArtifactStore
    from prefect_ml.http.bodies import Bodies
    from prefect_ml.http.lanes import Lanes
    from prefect_ml.store.calls import Answer, KeyedStore

_log = logging.getLogger("prefect_ml.server")

_KEY = KEY_HEADER.lower().encode()
_LONGEST_KEY = 200

# Those that may read many rows, or files.
_SEARCHING = ("search_", "list_", "sample_")
_LONG = frozenset({"audit", "get_metric_history", "verify_audit"}) | MOVING

# The first class that fits; the client goes by the class that the body names.
_STATUSES: tuple[tuple[type[PrefectMLError], int], ...] = (
    (errors.InvalidInputError, 400),
    (errors.NotFoundError, 404),
    (errors.AlreadyExistsError, 409),
    (errors.InactiveError, 409),
    (errors.ProtectedError, 403),
    (errors.NotAllowedError, 403),
    (errors.PromotionError, 409),
    (errors.JournalOffsetError, 409),
    (errors.StaleRevisionError, 409),
    (errors.StoreUnavailableError, 503),
)


class Calls:
    """The ASGI application of the calls; all other paths go to `otherwise`.

    Args:
        store: what is called.
        artifacts: the files that the server keeps.
        otherwise: the application of all other paths.
        lanes: the threads that work on calls.
        bodies: reads the bodies of requests.
    """

    def __init__(
        self, store: KeyedStore, artifacts: ArtifactStore, otherwise: ASGIApp, *, lanes: Lanes, bodies: Bodies
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._otherwise = otherwise
        self._lanes = lanes
        self._bodies = bodies
        self._calls = calls()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(PREFIX) or path.startswith(PROMOTIONS):
            await self._otherwise(scope, receive, send)
            return
        try:
            status, answer = await self._work(scope, receive)
        except RefusedError as refused:
            await refuse(send, refused)
        except Exception:  # noqa: BLE001  what nobody foresaw is answered too, and told by the request's id alone
            request_id = scope.get("request_id", "")
            _log.exception("Request %s failed", request_id)
            sentence = f"The server failed; its log says why, under request {request_id}."
            await respond(send, 500, encode_error(PrefectMLError(sentence)), {})
        else:
            await respond(send, status, answer, {"Retry-After": "1"} if status == 503 else {})  # noqa: PLR2004

    async def _work(self, scope: Scope, receive: Receive) -> Answer:
        call, key = self._find(scope), _key(scope)
        scope["route_template"] = scope["path"]  # one of the table
        body = await self._bodies.read(scope, dict(scope["headers"]), receive)
        try:
            lane = self._lanes.searches if call.name in _LONG or call.name.startswith(_SEARCHING) else self._lanes.quick
            return await lane.run(self._answer, call, body, key, scope)
        finally:
            self._bodies.release(body)

    def _find(self, scope: Scope) -> Call:
        name = scope["path"].removeprefix(PREFIX)
        call = self._calls.get(name)
        if call is None:
            raise RefusedError(404, "NO_SUCH_CALL", f"The store has no call {name!r}; is the client a newer release?")
        if scope["method"] != "POST":
            raise RefusedError(405, "BAD_METHOD", "A call of the store is sent by POST.", {"Allow": "POST"})
        return call

    def _answer(self, call: Call, body: bytes, key: str, scope: Scope) -> Answer:
        """The status and the body of the answer."""

        def work() -> Answer:
            try:
                check_call(self._store, call.name, arguments)
                with within(lambda: request_origin(scope, "prefect-ml")):
                    return 200, encode_result(getattr(self._store, call.name)(**arguments))
            except StoreUnavailableError:
                raise  # nothing was done, and nothing is kept
            except PrefectMLError as error:
                return _status(error), encode_error(error)

        try:
            # Before the transaction of the call, which must not wait for files.
            arguments = rehashed(self._store, self._artifacts, call.name, call.arguments(body))
            if not key or call.reads:
                return work()
            # A key that is used for something else names another call: else that would be lost without a word.
            return self._store.once(f"{call.name} {sha256(body).hexdigest()} {key}", work)
        except PrefectMLError as error:
            return _status(error), encode_error(error)


def _status(error: PrefectMLError) -> int:
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def _key(scope: Scope) -> str:
    key: str = dict(scope["headers"]).get(_KEY, b"").decode("latin-1")
    if len(key) > _LONGEST_KEY or not key.isprintable():
        raise RefusedError(400, "BAD_KEY", f"{KEY_HEADER} has at most {_LONGEST_KEY} printable characters.")
    return key
