"""A model served by a real Ray of this machine: two replicas behind Ray's proxy, which follow an alias.

What one replica does is tested without Ray too, over the ASGI interface by which Ray calls it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from sklearn.linear_model import LinearRegression

from prefect_ml.deploying.ray_serve import Replica, deployment
from prefect_ml.errors import InvalidInputError
from prefect_ml.models.folder import save_model
from prefect_ml.registry.register import register_model
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

TOKEN = "of-this-test"  # noqa: S105
SOON = 120


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def store(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_ML_HOME", str(home))
        found = open_store()
        for factor in (2, 3):
            rows = [[1.0], [2.0], [3.0]]
            folder = home / f"times-{factor}"
            save_model(LinearRegression().fit(rows, [factor * row[0] for row in rows]), folder, input_example=rows)
            register_model(found, str(folder), "line")
    found.set_alias("line", "steady", 1)
    yield found
    found.close()


@pytest.fixture(scope="module")
def served(store, home):
    """The URL of the application."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PREFECT_ML_HOME": str(home),
        "PREFECT_ML_SERVE_TOKEN": TOKEN,
        "PREFECT_ML_SERVE_POLL_INTERVAL": "0.2",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    log = home / "ray.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("ray_cluster.py"), str(port), "/lines", "models:/line@steady"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        try:
            while (line := process.stdout.readline()) != "ready\n":
                assert line, f"it ended with {process.wait(30)}:\n{log.read_text()[-4000:]}"
            yield f"http://127.0.0.1:{port}/lines"
        finally:
            process.stdin.close()
            assert process.wait(120) == 0
            process.stdout.close()


@pytest.fixture(scope="module")
def client(served):
    with httpx.Client(base_url=served, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as made:
        yield made


def asked(client):
    """The prediction and the version that made it."""
    answer = client.post("/invocations", json={"inputs": [[5.0]]})
    assert answer.status_code == 200, answer.text
    return round(answer.json()["predictions"][0], 6), answer.headers["x-model-version"]


@pytest.mark.long
def test_the_scoring_protocol_is_spoken_through_the_proxy_and_guarded(client, served):
    assert asked(client) == (10.0, "1")
    assert client.get("/ping").status_code == 200
    assert client.post("/models/line/invocations", json={"inputs": [[1.0]]}).json()["predictions"] == pytest.approx(
        [2.0]
    )
    refused = client.post("/invocations", json={"inputs": [["no number"]]})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "BAD_REQUEST")
    assert httpx.post(f"{served}/invocations", json={"inputs": [[1.0]]}, timeout=30).status_code == 401
    assert httpx.get(f"{served}/ping", timeout=30).status_code == 200


@pytest.mark.long
def test_every_replica_follows_the_alias(client, store):
    store.set_alias("line", "steady", 2)
    deadline = time.monotonic() + SOON
    while True:
        seen = Counter(asked(client) for _ in range(20))
        assert set(seen) <= {(10.0, "1"), (15.0, "2")}
        if set(seen) == {(15.0, "2")}:
            break
        assert time.monotonic() < deadline, seen


def call(replica, scope, body=b""):
    """What a replica sends for one request."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(replica(scope, receive, send))
    return sent


def life(replica):
    """The start and the end of an application, in one event loop, with requests between them."""
    coming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent = []

    async def receive():
        return next(coming)

    async def send(message):
        sent.append(message["type"])

    asyncio.run(replica({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    return sent


def scope(path, prefix):
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": prefix,
        "query_string": b"",
        "headers": [(b"host", b"ray.example")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }


def test_a_replica_answers_below_its_prefix_and_starts_and_ends_in_order(store, home):
    replica = Replica(["models:/line/1"], Settings(home=home, serve_hosts=("ray.example",)))
    for path, prefix in (("/lines/ping", "/lines"), ("/ping", "")):
        assert call(replica, scope(path, prefix))[0]["status"] == 200
    elsewhere = scope("/lines/health", "/lines") | {"headers": [(b"host", b"other.example")]}
    assert call(replica, elsewhere)[0]["status"] == 403
    assert life(replica) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_replica_that_would_serve_everybody_does_not_start(store):
    with pytest.raises(InvalidInputError, match="PREFECT_ML_SERVE_TOKEN on the cluster"):
        Replica(["models:/line/1"], Settings())


def test_what_cannot_be_meant_is_refused_before_ray_is_asked():
    with pytest.raises(InvalidInputError, match="names no registered model"):
        deployment("models:")
    with pytest.raises(InvalidInputError, match="Nothing to serve"):
        deployment()
