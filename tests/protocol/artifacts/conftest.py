from __future__ import annotations

import http.client
import uuid
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

FILES = "/api/2.0/mlflow-artifacts/artifacts"


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """HTTP with the path as it is given: other clients resolve dots, and encode again."""

    def __init__(self, url: str) -> None:
        self.address = (urlsplit(url).hostname, urlsplit(url).port)

    def send(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            given = {"Content-Length": str(len(body))} if body is not None else {}
            for name, value in {**given, **(headers or {})}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def put(self, name: str, content: bytes, **headers: str) -> Answer:
        return self.send("PUT", f"{FILES}/{quote(name)}", content, headers)

    def get(self, name: str, **headers: str) -> Answer:
        return self.send("GET", f"{FILES}/{quote(name)}", headers=headers)


@pytest.fixture
def wire(server):
    return Wire(server.url)


@pytest.fixture
def folder():
    """A folder below the server's root of the test's own."""
    return f"t/{uuid.uuid4().hex}"


@pytest.fixture
def run(api):
    """A run of a new experiment, as the protocol shows it."""
    experiment = api.post("experiments/create", name=uuid.uuid4().hex)["experiment_id"]
    return api.post("runs/create", experiment_id=experiment)["run"]["info"]


@pytest.fixture
def root(run):
    """The run's artifact root, as a folder below the server's root."""
    return run["artifact_uri"].removeprefix("mlflow-artifacts:/")
