"""The HTTP client of files behind a server: its token, its patience, and what the server says as our errors."""

from __future__ import annotations

import os
import random
import threading
import time
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prefect_ml.errors import (
    ArtifactConflictError,
    ArtifactError,
    CorruptArtifactError,
    InvalidInputError,
    NotFoundError,
    PrefectMLError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    import httpx
    from pydantic import SecretStr

    T = TypeVar("T")

# How often a request is sent that gets no answer, or one that asks for patience: over some twelve seconds, in which a
# server can be started again.
ATTEMPTS = 7
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
# A server that is silent for so long is not asked again: whoever trains would wait for minutes.
_LONGEST_SILENCE = 60.0
_AGAIN = frozenset({408, 429, 502, 503, 504})
_ERRORS: Mapping[int, type[PrefectMLError]] = {
    400: InvalidInputError,
    404: NotFoundError,
    409: ArtifactConflictError,
    413: InvalidInputError,
}


# A forked child finds its parent's clients here under another number, and never closes or uses them.
_clients: dict[tuple[str, str | None, int], httpx.Client] = {}
_lock = threading.Lock()


def _forget_lock() -> None:
    global _lock  # noqa: PLW0603  another thread of the parent may hold it for ever in the child
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)


def client_of(url: str, token: SecretStr | None) -> httpx.Client:
    """The client of a server, one for a process and token; shared by its threads.

    Raises:
        InvalidInputError: the URL holds a user or password, a query or a fragment.
    """
    parts = urlsplit(url)
    if parts.username is not None or parts.query or parts.fragment or not parts.hostname:
        raise InvalidInputError(
            "PREFECT_ML_STORE_URL must be a plain URL of a server, like https://host:5000; "
            "give its token in PREFECT_ML_SERVER_TOKEN."
        )
    secret = token.get_secret_value() if token else None
    key = (url.rstrip("/"), secret, os.getpid())
    with _lock:
        client = _clients.get(key)
        if client is None or client.is_closed:
            client = _clients[key] = _made(url.rstrip("/"), secret)
        return client


def _made(url: str, token: str | None) -> httpx.Client:
    import httpx  # noqa: PLC0415 (those whose artifacts are in a folder do not pay for it)

    headers = {"User-Agent": f"prefect-ml/{version('prefect-ml')}", "Accept-Encoding": "identity"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(60.0, connect=10.0))


class TryAgainError(Exception):
    """Within `patient`: the attempt failed in a way that may pass."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


def patient(action: str, attempt: Callable[[], T]) -> T:
    """What an attempt gives, repeated with growing pauses while it fails in a way that may pass.

    Raises:
        StoreUnavailableError: it goes on failing.
    """
    import httpx  # noqa: PLC0415 (loaded already by whoever has a client)

    pause, until = _FIRST_PAUSE, time.monotonic() + _LONGEST_SILENCE
    for left in reversed(range(ATTEMPTS)):
        try:
            return attempt()
        except (httpx.TransportError, TryAgainError) as error:
            if not left or (isinstance(error, httpx.TimeoutException) and time.monotonic() >= until):
                raise StoreUnavailableError(
                    f"Cannot {action}: the server does not take it now ({error}); try again when it does."
                ) from error
            asked = error.pause if isinstance(error, TryAgainError) else None
            time.sleep(min(asked or pause * random.uniform(0.5, 1.5), _LONGEST_PAUSE))  # noqa: S311  no secret
            pause *= 2
    raise AssertionError("unreachable: the last attempt returns or raises")


def check(action: str, answer: httpx.Response) -> None:
    """Raise what an answer says when it is none of success; reads its body then.

    Raises:
        TryAgainError: it asks for patience.
        PrefectMLError: the class that its status stands for.
    """
    if answer.is_success:
        return
    answer.read()
    message = _message(answer)
    if answer.status_code in _AGAIN:
        asked = answer.headers.get("retry-after", "")
        seconds = float(asked) if asked.isascii() and asked.isdigit() else None
        raise TryAgainError(f"{answer.status_code}: {message}", seconds)
    if answer.status_code in {401, 403}:
        raise ArtifactError(f"Cannot {action}: {message} Set PREFECT_ML_SERVER_TOKEN to the server's token.")
    if answer.headers.get("content-type") == "application/json" and "DATA_LOSS" in answer.text:
        raise CorruptArtifactError(message)
    kind = _ERRORS.get(answer.status_code, ArtifactError)
    raise kind(f"Cannot {action}: {message}")


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {answer.status_code} {answer.reason_phrase}."
