"""What is too much is answered with a clear 4xx, or with 503 and when to come again; other users' requests go on."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest
from hammering import API, new_runs

from served import TrackingServer

MOST = 300_000
POINT = {"key": "loss", "value": 1.0, "timestamp": 1, "step": 1}


@pytest.fixture(scope="module")
def tight(tmp_path_factory):
    """A server with narrow bounds."""
    environment = {
        "PREFECT_ML_SERVER_MAX_BODY": str(MOST),
        "PREFECT_ML_SERVER_BODY_TIMEOUT": "0.5",
        "PREFECT_ML_SERVER_THREADS": "4",
        "PREFECT_ML_SERVER_WAITING": "3",
        "PREFECT_ML_SERVER_LOG": "json",
    }
    with TrackingServer(tmp_path_factory.mktemp("tight"), environment) as started:
        yield started


@pytest.fixture
def client(tight):
    with httpx.Client(base_url=tight.url + API, timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def run_id(tight):
    return new_runs(tight.url, 1)[0]


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["x-request-id"]
    found = answer.json()
    assert found["error_code"]
    return found["message"]


def raw(server: TrackingServer, data: bytes, seconds: float = 10) -> bytes:
    """What a server sends until it closes the connection, after these bytes."""
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=seconds) as connection:
        connection.sendall(data)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def head(server: TrackingServer, *headers: str, path: str = "/runs/log-batch") -> bytes:
    lines = [f"POST {API}{path} HTTP/1.1", f"Host: {urlsplit(server.url).netloc}", "Content-Type: application/json"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def test_a_body_that_says_that_it_is_too_large(client):
    answer = client.post("/runs/log-batch", content=b"x" * (MOST + 1), headers={"content-type": "application/json"})
    message = refused(answer, 413)
    assert message.startswith("The body has more than 300,000 bytes; send it in parts")
    assert answer.headers["connection"] == "close"


def test_a_chunked_body_that_turns_out_too_large(client):
    def chunks():
        for _ in range(10):
            yield b"x" * (MOST // 5)

    answer = client.post("/runs/log-batch", content=chunks(), headers={"content-type": "application/json"})
    refused(answer, 413)
    assert answer.headers["connection"] == "close"


def test_a_client_that_asks_before_it_sends_is_told_at_once(tight):
    answer = raw(tight, head(tight, "Content-Length: 99999999999", "Expect: 100-continue"))
    assert answer.split()[1] == b"413"


def test_the_length_of_a_body_may_not_be_given_twice(tight):
    answer = raw(tight, head(tight, "Content-Length: 5", "Content-Length: 6") + b"12345")
    assert answer.split()[1] == b"400"


@pytest.mark.parametrize("length", ["-1", "1e3", "١٢", "99999999999999999999999999"])
def test_a_length_that_is_none(tight, length):
    answer = raw(tight, head(tight, f"Content-Length: {length}") + b"{}")
    assert answer.split()[1] in (b"400", b"413")


def test_a_head_that_is_too_large(tight):
    answer = raw(tight, head(tight, f"X-Filler: {'x' * 70_000}").removesuffix(b"\r\n"))
    assert answer.split()[1] == b"431"
    assert b"more than 64 KiB" in answer


def test_what_is_no_http(tight):
    answer = raw(tight, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    assert answer.split()[1] == b"400"
    assert b"no request of HTTP/1.1" in answer


def test_a_body_that_stops_coming_is_given_up(tight):
    begun = time.monotonic()
    answer = raw(tight, head(tight, "Content-Length: 1000") + b'{"run_id"')
    assert answer.split()[1] == b"408"
    assert b"no progress for 0.5 s" in answer
    assert b"connection: close" in answer
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("sent", [b"", b"POST /api/2.0/ml", b"POST / HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"])
def test_a_head_that_stops_coming_is_given_up(tight, sent):
    begun = time.monotonic()
    assert raw(tight, sent) == b""
    assert 0.4 < time.monotonic() - begun < 5


def test_a_head_that_comes_byte_by_byte_is_given_up_too(tight):
    place = urlsplit(tight.url)
    begun = time.monotonic()
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(b"GET /version HTTP/1.1\r\nX-Slow: ")
        with pytest.raises(OSError, match=r"reset|pipe"):
            drip(connection)
    assert time.monotonic() - begun < 5


def drip(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def test_a_client_that_leaves_is_no_failure_of_the_server(tight, until):
    place = urlsplit(tight.url)
    with socket.create_connection((place.hostname, place.port)) as connection:
        connection.sendall(head(tight, "Content-Length: 1000", "X-Request-Id: leaver") + b'{"run_id"')
        time.sleep(0.1)
    until(lambda: '"leaver"' in tight.log())
    [line] = [json.loads(line) for line in tight.log().splitlines() if '"leaver"' in line]
    assert (line["level"], line["status"]) == ("INFO", 499)


@pytest.mark.parametrize("count", [1001, 5000])
def test_too_many_metrics_in_a_batch(client, run_id, count):
    answer = client.post("/runs/log-batch", json={"run_id": run_id, "metrics": [POINT] * count})
    assert "1000" in refused(answer, 400)


def test_a_million_metrics_in_a_batch(server):
    body = b'{"run_id": "x", "metrics": [' + b", ".join([json.dumps(POINT).encode()] * 1_000_000) + b"]}"
    answer = httpx.post(
        f"{server.url}{API}/runs/log-batch", content=body, headers={"content-type": "application/json"}, timeout=60
    )
    assert "33,554,432" in refused(answer, 413)


@pytest.mark.parametrize("size", [10**9, 2**31, 2**63, 10**30, -1])
def test_a_page_of_a_thousand_million_runs(client, size):
    refused(client.post("/runs/search", json={"experiment_ids": ["0"], "max_results": size}), 400)


@pytest.mark.parametrize(
    "text",
    [
        " and ".join(["params.a = 'b'"] * 10_000),
        "(" * 50_000 + "params.a = 'b'" + ")" * 50_000,
        "params." + "a" * 200_000 + " = 'b'",
        "params.a IN (" + ", ".join(["'b'"] * 30_000) + ")",
    ],
    ids=["many terms", "deep", "long name", "long list"],
)
def test_a_filter_beyond_measure(client, text):
    refused(client.post("/runs/search", json={"experiment_ids": ["0"], "filter": text}), 400)


def test_a_body_nested_beyond_measure(client):
    body = b'{"run_id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    refused(client.post("/runs/log-batch", content=body, headers={"content-type": "application/json"}), 400)


@pytest.mark.parametrize("name", ["step", "timestamp"])
@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "NaN", "Infinity", "1e400", '"NaN"'])
def test_numbers_that_are_none(client, run_id, name, number):
    body = json.dumps({"run_id": run_id, **POINT, name: "HERE"}).replace('"HERE"', number)
    refused(client.post("/runs/log-metric", content=body, headers={"content-type": "application/json"}), 400)


def test_a_flood_of_searches_is_bounded_and_leaves_others_alone(tight, run_id):
    with httpx.Client(base_url=tight.url + API, timeout=60) as client:
        for start in range(0, 60_000, 1000):
            points = [
                {"key": "long", "value": step, "timestamp": step, "step": step} for step in range(start, start + 1000)
            ]
            client.post("/runs/log-batch", json={"run_id": run_id, "metrics": points}).raise_for_status()
    ended, statuses, waits = threading.Event(), [], []

    def search() -> None:
        query = {"run_id": run_id, "metric_key": "long"}
        with httpx.Client(base_url=tight.url + API, timeout=60) as client:
            while not ended.is_set():
                answer = client.get("/metrics/get-history", params=query)
                statuses.append(answer.status_code)
                if answer.status_code == 503:
                    assert answer.headers["retry-after"] == "1"
                    time.sleep(0.02)

    flood = [threading.Thread(target=search) for _ in range(10)]
    for thread in flood:
        thread.start()
    place = urlsplit(tight.url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    time.sleep(0.3)
    for step in range(60):
        begun = time.monotonic()
        body = json.dumps({"run_id": run_id, **POINT, "key": "other", "step": step})
        connection.request("POST", f"{API}/runs/log-metric", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        waits.append(time.monotonic() - begun)
    connection.close()
    ended.set()
    for thread in flood:
        thread.join(60)
    assert set(statuses) == {200, 503}, "some are answered, and what is too much is refused"
    assert sorted(waits)[len(waits) // 2] < 0.5


def test_too_many_requests_of_a_client(start):
    server = start(server_rate="5", server_token="secret")  # noqa: S106
    with httpx.Client(base_url=server.url, timeout=10) as client:
        answers = [client.get("/version") for _ in range(30)]
        limited = [answer for answer in answers if answer.status_code == 429]
        assert 10 <= len(limited) <= 20
        assert {answer.status_code for answer in answers} == {401, 429}, "guesses of the token are bounded too"
        assert "takes 5 requests a second" in refused(limited[0], 429)
        assert int(limited[0].headers["retry-after"]) == 1
        assert {client.get("/health").status_code for _ in range(10)} == {200}
