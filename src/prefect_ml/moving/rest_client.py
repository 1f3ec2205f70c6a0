"""Requests to a tracking server of MLflow: repeated where that helps, and refusals as errors of ours."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from prefect_ml.errors import InvalidInputError, NotFoundError, PrefectMLError, StoreUnavailableError

_CHUNK = 1 << 20
_ATTEMPTS = 5
_FIRST_PAUSE = 0.2
_AGAIN = frozenset({429, 502, 503, 504})
_TIMEOUT = httpx.Timeout(connect=10.0, read=120.0, write=60.0, pool=120.0)


class RestClient:
    """A client of MLflow's REST protocol.

    Credentials are those that MLflow's own clients use: `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and
    `MLFLOW_TRACKING_PASSWORD`, or user and password in the URL.

    Args:
        url: of the server, such as "http://mlflow:5000".

    Attributes:
        url: the same without user and password.

    Raises:
        InvalidInputError: it is no http URL.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if parts.scheme not in ("http", "https") or not host:
            raise InvalidInputError("The URL of a tracking server looks like http://host:5000.")
        name = f"[{host}]" if ":" in host else host
        place = name if port is None else f"{name}:{port}"
        self.url = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
        headers = {"User-Agent": f"prefect-ml/{version('prefect-ml')}", "Accept-Encoding": "identity"}
        auth: tuple[str, str] | None = None
        if parts.username:
            auth = (httpx.URL(url).username, httpx.URL(url).password)
        elif user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
            auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
        elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.Client(base_url=self.url, headers=headers, auth=auth, timeout=_TIMEOUT)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a GET; `NotFoundError` on a 404."""
        return self._answered("GET", path, params=dict(query))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._answered("POST", path, json=dict(body))

    def pages(self, method: str, path: str, fields: Mapping[str, Any], items: str) -> Iterator[dict[str, Any]]:
        """What a paged answer lists under a name, page after page."""
        token = ""
        while True:
            asked = {**fields, "page_token": token} if token else fields
            answer = self.get(path, asked) if method == "GET" else self.post(path, asked)
            found = answer.get(items, [])
            yield from found
            following = str(answer.get("next_page_token") or "")
            if not following or following == token or not found:
                return
            token = following

    def stream(self, path: str, query: Mapping[str, Any]) -> Iterator[bytes]:
        """The bytes of a file."""
        try:
            with self._client.stream("GET", path, params=dict(query)) as answer:
                if answer.status_code != httpx.codes.OK:
                    answer.read()
                    raise self._refused(path, answer)
                yield from answer.iter_bytes(_CHUNK)
        except httpx.HTTPError as error:
            raise self._away(str(error) or type(error).__name__) from error

    def _answered(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        for attempt in range(1, _ATTEMPTS + 1):
            reason: str
            try:
                answer = self._client.request(method, path, **request)
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
            else:
                if answer.status_code not in _AGAIN:
                    return self._understood(path, answer)
                reason = f"it answered {answer.status_code}"
            if attempt < _ATTEMPTS:
                time.sleep(_FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))  # noqa: S311  spreads retries
        raise self._away(reason)

    def _understood(self, path: str, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code != httpx.codes.OK:
            raise self._refused(path, answer)
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise InvalidInputError(f"What answers at {self.url}{path} speaks no JSON: it is no server of MLflow's.")
        return body

    def _refused(self, path: str, answer: httpx.Response) -> PrefectMLError:
        if answer.status_code in _AGAIN:
            return self._away(f"it answered {answer.status_code}")
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return StoreUnavailableError(
                f"The server at {self.url} answered {answer.status_code}: set MLFLOW_TRACKING_TOKEN, or "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, to what may read everything there."
            )
        what = f"The server at {self.url} answered {path} with {answer.status_code}: {_told(answer)}"
        return NotFoundError(what) if answer.status_code == httpx.codes.NOT_FOUND else PrefectMLError(what)

    def _away(self, reason: str) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"The server at {self.url} cannot be read from now: {reason.rstrip('.')}. Check that it runs, and run the "
            "import again: it goes on where it was."
        )


def _told(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        body = None
    told = body.get("message") if isinstance(body, dict) else None
    return str(told or answer.reason_phrase)[:500]
