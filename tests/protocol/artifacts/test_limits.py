"""What bounds uploads and downloads, each answered with a sentence."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from served import TrackingServer

FILES = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A server that takes two files at a time, of 100,000 bytes, each piece within three seconds."""
    environment = {
        "PREFECT_ML_SERVER_BODY_TIMEOUT": "3",
        "PREFECT_ML_SERVER_MAX_FILE": "100000",
        "PREFECT_ML_SERVER_THREADS": "1",
        "PREFECT_ML_SERVER_WAITING": "1",
    }
    with TrackingServer(tmp_path_factory.mktemp("narrow"), environment) as server:
        yield server


def opened(server, name, head, body=b""):
    """A connection on which an upload has begun."""
    host, port = server.url.removeprefix("http://").split(":")
    raw = socket.create_connection((host, int(port)), timeout=20)
    raw.sendall(f"PUT {FILES}/{name} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode() + body)
    return raw


def answer(raw):
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := raw.recv(65536):
            got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def left_over(server):
    """The partial files that are there after a moment."""
    scratch = server.artifacts / ".prefect-ml/partial"
    deadline = time.monotonic() + 10
    while scratch.exists() and any(scratch.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return list(scratch.iterdir()) if scratch.exists() else []


def test_a_sender_that_falls_silent_is_given_up(narrow):
    with opened(narrow, "silent", "Content-Length: 1000", b"half") as raw:
        status, told = answer(raw)
    assert (status, told["error_code"]) == (408, "REQUEST_TIMEOUT")
    assert "send it again" in told["message"]
    assert left_over(narrow) == []
    assert not (narrow.artifacts / "silent").exists()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_file_that_is_too_large_leaves_nothing(narrow, framing):
    body = bytes(120_000)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    head, sent = {
        "length": (f"Content-Length: {len(body)}", body),
        "chunked": ("Transfer-Encoding: chunked", chunked),
    }[framing]
    with opened(narrow, "large", head, sent) as raw:
        status, told = answer(raw)
    assert status == 413
    assert "PREFECT_ML_SERVER_MAX_FILE" in told["message"]
    assert left_over(narrow) == []
    assert not (narrow.artifacts / "large").exists()


def test_one_file_too_many_at_a_time_is_told_to_come_again(narrow):
    with contextlib.ExitStack() as stack:
        for name in ("one", "two"):
            stack.enter_context(opened(narrow, name, "Content-Length: 1000", b"half"))
        scratch = narrow.artifacts / ".prefect-ml/partial"
        deadline = time.monotonic() + 10
        while len(list(scratch.glob("*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        with opened(narrow, "three", "Connection: close\r\nContent-Length: 4", b"full") as raw:
            status, told = answer(raw)
    assert (status, told["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert left_over(narrow) == []
    with opened(narrow, "three", "Connection: close\r\nContent-Length: 4", b"full") as raw:
        assert answer(raw) == (200, {})
