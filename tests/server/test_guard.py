"""Every route stands behind the gate, whoever adds it; and what the gate lets through, from where."""

from __future__ import annotations

import base64
import inspect
import re
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route as PageRoute

from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import InvalidInputError
from prefect_ml.http.gate import Gate
from prefect_ml.protocol.artifacts.app import FileRoutes
from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.dispatch import Dispatch
from prefect_ml.protocol.table import ROUTES
from prefect_ml.server import run_server
from prefect_ml.server.app import build_app
from prefect_ml.server.calls import Calls
from prefect_ml.server.promotions import ROUTES as PROMOTIONS
from prefect_ml.server.run import backend_of
from prefect_ml.settings import Settings
from prefect_ml.store.calls import PREFIX, calls
from served import TrackingServer

TOKEN = "right-token-of-the-tests"  # noqa: S105
FILES = (
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/a/b"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts/a/b"),
    ("HEAD", "/api/2.0/mlflow-artifacts/artifacts/a/b"),
    ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/a/b"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts"),
    ("GET", "/ajax-api/2.0/mlflow-artifacts/artifacts/a/b"),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/create/a"),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/complete/a"),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/abort/a"),
    ("GET", "/get-artifact"),
    ("GET", "/model-versions/get-artifact"),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact"),
    ("GET", "/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files"),
)
OPEN = {("GET", "/health"), ("HEAD", "/health")}
GUESSES = {
    "none": {},
    "wrong": {"Authorization": "Bearer wrong"},
    "empty": {"Authorization": "Bearer"},
    "its beginning": {"Authorization": f"Bearer {TOKEN[:-1]}"},
    "more than it": {"Authorization": f"Bearer {TOKEN}x"},
    "no scheme": {"Authorization": TOKEN},
    "basic": {"Authorization": "Basic " + base64.b64encode(b"user:wrong").decode()},
    "basic's user": {"Authorization": "Basic " + base64.b64encode(f"{TOKEN}:".encode()).decode()},
    "no base64": {"Authorization": "Basic ///"},
    "no ASCII": {"Authorization": b"Bearer \xff\xfe"},
    "elsewhere": {"X-Token": TOKEN, "Cookie": f"token={TOKEN}"},
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with TrackingServer(tmp_path_factory.mktemp("guarded"), {"PREFECT_ML_SERVER_TOKEN": TOKEN}) as started:
        yield started


@pytest.fixture
def application(tmp_path, home):
    """The whole application, in this process."""
    settings = Settings(store_url=f"sqlite:///{tmp_path / 'store.db'}", artifact_root=str(tmp_path / "artifacts"))
    with backend_of(settings) as backend:
        assert isinstance(backend, Backend)
        assert open_artifacts(settings.resolved_artifact_root)
        yield build_app(backend, settings)


def behind(application) -> dict[type, object]:
    """All applications that a request passes, by their class, in their order."""
    found: dict[type, object] = {}
    while application is not None:
        found[type(application)] = application
        application = getattr(application, "_app", None) or getattr(application, "_otherwise", None)
    return found


def all_routes(pages: FastAPI) -> set[tuple[str, str]]:
    """Method and path of everything that is answered, parameters filled in."""
    found = {(method, path) for route in (*ROUTES, *PROMOTIONS) for path in route.paths for method in route.methods}
    found |= {("POST", PREFIX + name) for name in calls()}
    found |= {(method, route.path) for route in pages.routes for method in route.methods}
    return {(method, re.sub(r"\{\w+(:path)?\}", "x", path)) for method, path in found} | set(FILES)


def test_nothing_but_the_gate_leads_to_a_route(application):
    chain = behind(application)
    order = [kind.__name__ for kind in chain]
    before = order[: order.index("Gate")]
    assert set(before) <= {"Observed", "LocalPages"}, "what stands before the gate answers nothing of the server's"
    assert {FastAPI, FileRoutes, Dispatch, Calls} == {kind for kind in chain if kind.__name__ not in (*before, "Gate")}
    pages = chain[FastAPI]
    assert all(isinstance(route, PageRoute) for route in pages.routes), "a mounted application has routes of its own"
    assert {route.path for route in pages.routes} >= {"/health", "/version", "/metrics", "/docs", "/openapi.json"}


def test_every_route_asks_for_the_token_first(application, guarded):
    routes = sorted(all_routes(behind(application)[FastAPI]) - OPEN)
    assert len(routes) > 200
    with httpx.Client(base_url=guarded.url, timeout=30) as client:
        for method, path in routes:
            answer = client.request(method, path)
            assert answer.status_code == 401, f"{method} {path} answers {answer.status_code} without a token"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert method == "HEAD" or answer.json()["error_code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("guess", list(GUESSES))
def test_no_guess_of_the_token_is_let_in(guarded, guess):
    places = [("POST", "/api/2.0/mlflow/runs/create"), ("GET", "/metrics"), ("POST", f"{PREFIX}create_run"), *FILES[:2]]
    for method, path in places:
        assert httpx.request(method, guarded.url + path, headers=GUESSES[guess]).status_code == 401


def test_the_token_opens_and_a_probe_needs_none(guarded):
    basic = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    for given in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {basic}"):
        assert httpx.get(guarded.url + "/version", headers={"Authorization": given}).status_code == 200
    assert httpx.get(guarded.url + "/health").text == "OK"
    for path in ("/health/", "/health/../metrics", "//health", "/HEALTH", "/health%2f..%2fmetrics", "/health;x"):
        assert httpx.get(guarded.url + path).status_code == 401, path
    assert TOKEN not in guarded.log()


def test_tokens_are_compared_in_constant_time():
    source = inspect.getsource(Gate)
    assert "hmac.compare_digest" in source
    assert not re.search(r"(==|!=|startswith\(|\bin\b) *self\._token", source)


def ask(server: TrackingServer, method: str, path: str, *headers: str) -> int:
    """The status of a request with exactly these headers."""
    place = urlsplit(server.url)
    lines = [f"{method} {path} HTTP/1.1", *headers, "Connection: close", "Content-Length: 0", "", ""]
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        return int(connection.recv(4096).split()[1])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("127.0.0.1:5000", 200),
        ("[::1]:5000", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example:127", 403),
        ("localhost@evil.example", 403),
        ("evil.example#localhost", 403),
        ("evil.example/localhost", 403),
        ("169.254.169.254", 403),
        ("0.0.0.0", 403),  # noqa: S104
        ("", 403),
    ],
)
def test_without_a_token_only_this_machine_is_served_by_its_own_names(server, host, status):
    assert ask(server, "GET", "/version", f"Host: {host}") == status
    assert ask(server, "POST", "/api/2.0/mlflow/experiments/create", f"Host: {host}") == (400 if status == 200 else 403)
    assert ask(server, "GET", "/health", f"Host: {host}") == 200


def test_two_hosts_are_none(server):
    assert ask(server, "GET", "/version", "Host: localhost", "Host: evil.example") == 400


ORIGINS = {
    "null": 403,
    "http://evil.example": 403,
    "https://localhost.evil.example": 403,
    "http://evil.example:127": 403,
    "http://localhost@evil.example": 403,
    "file://": 403,
    "": 403,
    "http://[": 403,
    "http://localhost:3000": 200,
    "http://127.0.0.1": 200,
}


@pytest.mark.parametrize("origin", list(ORIGINS))
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_writes_from_pages_of_other_origins_are_refused(server, origin, method):
    status = ask(server, method, "/api/2.0/mlflow/no-such-route", "Host: localhost", f"Origin: {origin}")
    assert status == (403 if ORIGINS[origin] == 403 else 404)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_what_a_form_of_another_page_can_send_is_no_request(server, kind):
    answer = httpx.post(
        f"{server.url}/api/2.0/mlflow/experiments/create", content=b'{"name": "forged"}', headers={"content-type": kind}
    )
    assert answer.status_code == 400
    assert "Content-Type" in answer.json()["message"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1"])  # noqa: S104
def test_it_listens_to_other_machines_with_a_token_alone(host):
    with pytest.raises(InvalidInputError, match=r"set PREFECT_ML_SERVER_TOKEN|is no address to listen on"):
        run_server(host=host, port=0)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/version", 200),
        ("GET", "/metrics", 200),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", 200),
        ("GET", "/api/2.0/mlflow/experiments/get?experiment_id=7", 404),
        ("GET", "/api/2.0/mlflow/experiments/create", 405),
        ("POST", "/api/2.0/mlflow/experiments/create", 400),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts/none", 404),
        ("GET", "/no-such-page", 404),
        ("POST", f"{PREFIX}none", 404),
        ("GET", "/api/2.0/mlflow/traces", 501),
    ],
)
def test_every_answer_says_what_a_browser_may_do_with_it(server, method, path, status):
    answer = httpx.request(method, server.url + path, headers={"X-Request-Id": "mine-1"})
    assert answer.status_code == status, answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] in ("SAMEORIGIN", "DENY")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-request-id"] == "mine-1"
    assert "server" not in answer.headers


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'a"b', "a,b", "é"])
def test_a_request_id_that_is_none_is_replaced(server, given):
    found = httpx.get(server.url + "/version", headers=[(b"x-request-id", given.encode("latin-1"))])
    assert re.fullmatch("[0-9a-f]{32}", found.headers["x-request-id"])
