from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest

sys.path.append(str(Path(__file__).parents[1]))
from served import TrackingServer


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with TrackingServer(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="session")
def api(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield Api(client)


class Api:
    """MLflow's REST protocol as plain JSON."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def send(self, method: str, path: str, body: object = None, prefix: str = "/api/2.0/mlflow/") -> httpx.Response:
        return self.client.request(method, prefix + path, json=body)

    def post(self, path: str, **body: object) -> dict[str, object]:
        """The answer to a POST that is done."""
        return self._done(self.send("POST", path, body))

    def get(self, path: str, **query: object) -> dict[str, object]:
        """The answer to a GET that is done."""
        return self._done(self.client.get(f"/api/2.0/mlflow/{path}", params=query))

    def refused(self, path: str, method: str = "POST", **body: object) -> tuple[int, str, str]:
        """Status, error code and message of a refusal."""
        if method == "GET":
            answer = self.client.get(f"/api/2.0/mlflow/{path}", params=body)
        else:
            answer = self.send(method, path, body)
        assert answer.status_code >= 400, answer.text
        found = answer.json()
        return answer.status_code, found["error_code"], found["message"]

    @staticmethod
    def _done(answer: httpx.Response) -> dict[str, object]:
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()
