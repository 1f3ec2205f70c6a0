"""A server that is asked too much, too slowly, or to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection

import pytest

from prefect_ml.models.folder import save_model
from prefect_ml.serving.opening import open_model
from prefect_ml.serving.picking import ServedModels
from prefect_ml.serving.predictions import Limits
from prefect_ml.serving.server import serving_process
from prefect_ml.serving.wanted import Wanted
from prefect_ml.settings import Settings

HEADERS = {"content-type": "application/json"}
SLOW = json.dumps({"inputs": [1.5]})


def slow(data):
    """Takes as many seconds as it is told."""
    import time as clock

    clock.sleep(float(data[0]))
    if data[0] < 0.01:
        raise RuntimeError("too fast")
    return data


@pytest.fixture(scope="module")
def slow_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "slow"
    save_model(slow, folder, allow_pickle=True)
    return folder


@pytest.fixture
def port(slow_folder, monkeypatch):
    """A server with two threads and room for two more requests, in a thread of this process."""
    monkeypatch.setenv("PREFECT_ML_TRUSTED_ORIGINS", str(slow_folder))
    limits = Limits(body=1000, body_seconds=0.5, threads=2, waiting=2)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        settings = Settings()
        models = ServedModels([open_model(Wanted("slow", str(slow_folder)), settings, None)])
        server = serving_process(models, listener, settings, lambda: None, limits=limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def ask(port, body, headers=HEADERS):
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/invocations", body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), json.loads(answer.read())
    finally:
        connection.close()


def test_what_is_too_much_is_refused_at_once_and_the_rest_is_answered(port):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(port, SLOW))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(status for status, *_ in answers) == [200] * 4 + [503] * 4
    refused = next(answer for answer in answers if answer[0] == 503)
    assert refused[1]["retry-after"] == "1"
    assert "try again" in refused[2]["message"]
    assert ask(port, json.dumps({"inputs": [0.02]}))[0] == 200


def test_ping_answers_while_every_thread_predicts(port):
    threads = [threading.Thread(target=ask, args=(port, SLOW)) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    begin = time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/ping")
    assert connection.getresponse().status == 200
    assert time.monotonic() - begin < 1
    connection.close()
    for thread in threads:
        thread.join(30)


@pytest.mark.parametrize("begun", [b"", b"{"])
def test_a_body_that_trickles_in_or_never_comes_is_given_up(port, begun):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n")
        client.sendall(b"Content-Type: application/json\r\n\r\n" + begun)
        assert client.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("length", [b"1001", b"9" * 30])
def test_a_body_announced_too_large_is_refused_though_it_never_comes(port, length):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + b"\r\n")
        client.sendall(b"Content-Type: application/json\r\n\r\n")
        assert client.recv(4096).startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))


def test_a_body_one_byte_too_large_is_refused_at_once(port):
    def streamed():
        yield b" " * 600
        yield b" " * 401

    for body in (b" " * 1001, streamed()):
        begin = time.monotonic()
        status, _, answer = ask(port, body)
        assert status == 413
        assert "more than 1,000 bytes" in answer["message"]
        assert time.monotonic() - begin < 0.4  # and not only when the time for the body is over


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (66 << 10), 431),
        (b"NO HTTP\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(port, sent, status):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(sent)
        answer = b""
        while part := client.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error_code"] == "BAD_REQUEST"


def test_a_request_that_is_refused_before_its_body_came_leaves_the_connection_usable(port):
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    for _ in range(2):
        connection.request("POST", "/nowhere", b"x" * 900, HEADERS)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (404, True)
    connection.request("POST", "/invocations", json.dumps({"inputs": [0.02]}), HEADERS)
    assert connection.getresponse().status == 200
    connection.close()


def test_a_client_that_goes_away_leaves_no_request_behind(port):
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert ask(port, json.dumps({"inputs": [0.02]}))[0] == 200


def test_a_model_that_fails_is_said_without_its_trace(port):
    status, _, answer = ask(port, json.dumps({"inputs": [0.0]}))
    assert status == 400
    assert answer["error_code"] == "BAD_REQUEST"
    assert "RuntimeError: too fast" in answer["message"]
    assert "Traceback" not in json.dumps(answer)


def server_process(folder, **env):
    code = "import sys; from prefect_ml.serving import run_server; run_server(sys.argv[1], port=0)"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PREFECT_ML_TRUSTED_ORIGINS": str(folder), **env},
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_told_to_stop_answers_what_is_in_hand(slow_folder, number):
    with server_process(slow_folder) as process:
        try:
            port = int(process.stdout.readline().rpartition(":")[2])
            answers = []
            thread = threading.Thread(target=lambda: answers.append(ask(port, SLOW)))
            thread.start()
            time.sleep(0.5)
            process.send_signal(number)
            thread.join(30)
            assert answers[0][0] == 200
            assert process.wait(30) == 0
            with pytest.raises(ConnectionRefusedError):
                ask(port, SLOW)
        finally:
            process.kill()


def test_a_prediction_that_does_not_end_keeps_the_process_no_longer_than_the_drain(slow_folder):
    with server_process(slow_folder, PREFECT_ML_SERVE_DRAIN="1") as process:
        try:
            port = int(process.stdout.readline().rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                body = json.dumps({"inputs": [600.0]}).encode()
                client.sendall(b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
                client.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
                time.sleep(0.5)
                process.terminate()
                assert process.wait(15) == 0
        finally:
            process.kill()


def test_a_server_told_to_stop_while_it_loads_stops_at_once(tmp_path):
    folder = tmp_path / "sleepy"
    save_model(slow, folder, allow_pickle=True, input_example=[0.02])
    example = folder / "input_example.json"
    example.write_text(example.read_text().replace("0.02", "600.0"))
    with server_process(folder) as process:
        try:
            time.sleep(4)
            assert process.poll() is None
            process.terminate()
            assert process.wait(10) == -signal.SIGTERM
        finally:
            process.kill()
