"""`HttpStore`: the store behind a tracking server.

A call that got no answer may have been applied or not. Reads are repeated as they are. Every write carries a random
`Idempotency-Key`, which the server keeps together with the answer in the transaction of the write (see
`prefect_ml.store.once`); so a repeated write is applied once and gets the answer of the first, whatever it is. That
many writes of the contract could be repeated anyway does not make it superfluous: a tag that is set twice would undo
what somebody else set between, and a journal that is delivered twice would hide what was refused of it.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import random
import threading
import time
import uuid
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx

from prefect_ml.errors import InvalidInputError, PrefectMLError, StoreUnavailableError, StoreVersionError
from prefect_ml.store.calls import KEY_HEADER, PREFIX, Call, calls, decode_error
from prefect_ml.store.contract import Store
from prefect_ml.store.origin import ORIGIN_HEADER, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import SecretStr

    C = TypeVar("C", bound=type)

# Seconds after its beginning in which a call is sent again, and those that one answer may take.
_PATIENCE = 30.0
_TIMEOUT = httpx.Timeout(connect=10.0, read=60.0, write=60.0, pool=30.0)
_LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30.0)
_ATTEMPTS = 5
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
# A body that came too slowly, too many requests, and what proxies and servers say that cannot answer now.
_AGAIN = frozenset({408, 429, 502, 503, 504})

# What a forked child inherited stays referenced for ever: closing a connection there would end the parent's TLS.
_inherited: list[object] = []


def _asks(kind: C) -> C:
    """Give a class every method of the contract."""
    for call in calls().values():
        setattr(kind, call.name, _method(call))
    return kind


def _method(call: Call) -> Callable[..., Any]:
    @functools.wraps(getattr(Store, call.name))
    def ask(self: HttpStore, *args: Any, **kwargs: Any) -> Any:
        return self._ask(call, call.encode(*args, **kwargs))

    return ask


@_asks
class HttpStore(Store):
    """The store of a tracking server, shared by the threads of a process; a forked child may use it too.

    Args:
        url: of the server, with the path below which it answers, if any.
        token: that it asks for.

    Attributes:
        token: what it sends.
        closed: whether `close` was called; a closed one still works and opens connections anew.

    Raises:
        InvalidInputError: the URL is no server's, or holds a password.
    """

    def __init__(self, url: str, token: SecretStr | None = None) -> None:
        self._url = _checked(url)
        self.token = token
        self.closed = False
        self._pid = 0
        self._lock: threading.Lock
        self._open: _Open | None
        self._start()

    def __repr__(self) -> str:
        return f"HttpStore({self._url!r})"

    @property
    def url(self) -> str:
        return self._url

    def close(self) -> None:
        """Give all connections back. Idempotent."""
        self.closed = True
        if os.getpid() != self._pid:
            return
        with self._lock:
            left, self._open = self._open, None
            idle = left is not None and left.retire()
        if left is not None and idle:
            left.client.close()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._open = None
        self._pid = os.getpid()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[httpx.Client]:
        """The client, which stays open within, also when another thread calls `close`."""
        if os.getpid() != self._pid:
            _inherited.append(self._open)
            self._start()
        with self._lock:
            if self._open is None:
                self._open = _Open(_made(self._url, self.token))
            mine = self._open
            mine.users += 1
        try:
            yield mine.client
        finally:
            with self._lock:
                mine.users -= 1
                last = mine.retired and not mine.users
            if last:
                mine.client.close()

    def _ask(self, call: Call, body: bytes) -> Any:
        headers = {} if call.reads else {KEY_HEADER: uuid.uuid4().hex, ORIGIN_HEADER: told()}
        until = time.monotonic() + _PATIENCE
        for attempt in range(1, _ATTEMPTS + 1):
            answer, failure = self._sent(call, body, headers)
            if answer is not None and answer.status_code not in _AGAIN:
                return self._understood(call, answer)
            pause = _pause(attempt, answer)
            if attempt == _ATTEMPTS or time.monotonic() + pause > until:
                raise self._away(answer, failure) from failure
            time.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _sent(
        self, call: Call, body: bytes, headers: dict[str, str]
    ) -> tuple[httpx.Response | None, httpx.RequestError | None]:
        """The answer to one request, or why there is none."""
        with self._connected() as client:
            try:
                return client.post(PREFIX + call.name, content=body, headers=headers), None
            except httpx.RequestError as error:
                return None, error

    def _understood(self, call: Call, answer: httpx.Response) -> Any:
        if answer.status_code == httpx.codes.OK:
            return call.result(answer.content)
        if (error := decode_error(answer.content)) is not None:
            raise error
        raise self._misunderstood(call, answer)

    def _misunderstood(self, call: Call, answer: httpx.Response) -> PrefectMLError:
        """What an answer means that is none of this wire."""
        status = answer.status_code
        if status == httpx.codes.UNAUTHORIZED:
            return StoreUnavailableError(
                f"The server at {self._url} asks for a token, and the one given is not it; set "
                "PREFECT_ML_SERVER_TOKEN to that of the server."
            )
        if status in {httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED} or answer.is_redirect:
            return StoreVersionError(
                f"What answers at {self._url} does not know the call {call.name!r}: it is no server of prefect-ml, or "
                "one of an older release. Upgrade it, or correct PREFECT_ML_STORE_URL."
            )
        return PrefectMLError(f"The server at {self._url} answered {call.name!r} with {status}{_told(answer)}")

    def _away(self, answer: httpx.Response | None, failure: httpx.RequestError | None) -> StoreUnavailableError:
        if answer is not None:
            told = decode_error(answer.content)
            if isinstance(told, StoreUnavailableError):
                return told
            reason = f"it answered {answer.status_code}"
        else:
            reason = str(failure) or type(failure).__name__
        return StoreUnavailableError(
            f"The server at {self._url} cannot be reached now: {reason.rstrip('.')}. Check that it runs and that "
            "PREFECT_ML_STORE_URL names it, and try again."
        )


class _Open:
    """A client and how many calls use it now; under the lock of its store."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.users = 0
        self.retired = False

    def retire(self) -> bool:
        """Have the last user close it; whether there is none."""
        self.retired = True
        return not self.users


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise InvalidInputError("The URL of a server names its host, as in http://host:5000.")
    if "@" in parts.netloc:
        raise InvalidInputError(
            "The URL of a server holds no user and password, since URLs are shown and logged; set the token as "
            "PREFECT_ML_SERVER_TOKEN."
        )
    if parts.query or parts.fragment:
        raise InvalidInputError("The URL of a server has no query and no fragment; write it as http://host:5000.")
    return urlunsplit((parts.scheme.lower(), parts.netloc, parts.path.rstrip("/"), "", ""))


def _made(url: str, token: SecretStr | None) -> httpx.Client:
    headers = {"Content-Type": "application/json", "User-Agent": f"prefect-ml/{version('prefect-ml')}"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    return httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, limits=_LIMITS)


def _pause(attempt: int, answer: httpx.Response | None) -> float:
    """Seconds until the next attempt: what the server asks for, else more each time, and spread."""
    with contextlib.suppress(ValueError):
        if answer is not None and math.isfinite(asked := float(answer.headers.get("Retry-After", ""))):
            asked = min(max(asked, 0.0), _LONGEST_PAUSE)
            return asked * random.uniform(1.0, 1.2)  # noqa: S311  spreads retries
    return _FIRST_PAUSE * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311  spreads retries


def _told(answer: httpx.Response) -> str:
    """The message of a refusal by what stands before the calls, if there is one."""
    with contextlib.suppress(ValueError):
        told = answer.json()
        if isinstance(told, dict) and isinstance(message := told.get("message"), str):
            return f": {message}"
    return "."
