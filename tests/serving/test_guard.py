"""Who may ask, and from where."""

from __future__ import annotations

import socket

import pytest

from prefect_ml.errors import InvalidInputError
from prefect_ml.serving import run_server

ROUTES = [
    ("GET", "/health"),
    ("GET", "/version"),
    ("POST", "/invocations"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/"),
    ("GET", "/metrics"),
    ("GET", "/models/linear/health"),
    ("POST", "/models/linear/invocations"),
    ("POST", "/v2/models/linear/infer"),
    ("POST", "/v2/models/linear/versions/1/infer"),
    ("GET", "/v2/health/ready"),
    ("GET", "/nowhere"),
    ("GET", "/ping/"),
    ("GET", "//ping"),
]


def test_beyond_this_machine_only_with_a_token(model_folder):
    with pytest.raises(InvalidInputError, match="set PREFECT_ML_SERVE_TOKEN"):
        run_server(str(model_folder), host="0.0.0.0", port=0)  # noqa: S104 (that it is refused is the point)


def test_a_taken_port_is_said_in_a_sentence(model_folder):
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(InvalidInputError, match="choose another"):
        run_server(str(model_folder), port=other.getsockname()[1])


@pytest.mark.parametrize("header", ["Bearer secret", "bearer secret", "Basic YW55Ym9keTpzZWNyZXQ="])
def test_the_token_is_a_bearer_token_or_the_password_of_anybody(guarded_client, header):
    assert guarded_client.get("/version", headers={"authorization": header}).status_code == 200


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic c2VjcmV0", "secret", "Bearer secret2"])
def test_every_route_but_ping_asks_for_the_token(guarded_client, method, path, header):
    headers = {} if header is None else {"authorization": header}
    answer = guarded_client.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error_code"] == "UNAUTHENTICATED"


def test_the_token_opens_and_ping_needs_none(guarded_client):
    assert guarded_client.get("/health", headers={"authorization": "Bearer secret"}).status_code == 200
    assert guarded_client.get("/ping").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/openapi.json", 200), ("GET", "/metrics", 200), ("GET", "/ping", 200),
     ("GET", "/nowhere", 404), ("GET", "/invocations", 405), ("POST", "/invocations", 415)],
)  # fmt: skip
def test_every_answer_says_what_a_browser_may_do_with_it(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'unsafe" not in policy


@pytest.mark.parametrize("host", ["evil.example", "evil.example:5001", "", "127.0.0.1.evil.example", "[::2]:80"])
def test_without_a_token_a_foreign_host_name_is_refused(client, host):
    answer = client.get("/health", headers={"host": host})
    assert answer.status_code == 403
    assert "Invalid Host header" in answer.json()["message"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:5001", "127.0.0.1", "[::1]:5001"])
def test_this_machines_names_are_served(client, host):
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(("host", "port"), [("no such host", 0), ("127.0.0.1", 70_000)])
def test_no_address_is_said_in_a_sentence(model_folder, host, port):
    with pytest.raises(InvalidInputError, match="to listen on"):
        run_server(str(model_folder), host=host, port=port)
