"""Told to stop, a server answers what it has in hand, lets nobody else in, and ends in time."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from hammering import API, Training, check, new_runs

from prefect_ml.store import open_store

POINTS = 20_000


def connect(url: str) -> socket.socket:
    place = urlsplit(url)
    return socket.create_connection((place.hostname, place.port), timeout=20)


def fill(url: str, run_id: str) -> None:
    with httpx.Client(base_url=url + API, timeout=60) as client:
        for first in range(0, POINTS, 1000):
            steps = range(first, first + 1000)
            points = [{"key": "long", "value": step, "timestamp": step, "step": step} for step in steps]
            client.post("/runs/log-batch", json={"run_id": run_id, "metrics": points}).raise_for_status()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_request_in_hand_is_cut_off(start, workers):
    server = start("--workers", workers)
    run_ids = new_runs(server.url, 9)
    fill(server.url, run_ids[8])
    trainings = [Training(server.url, run_id) for run_id in run_ids[:8]]
    idle = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    idle.request("GET", "/version")
    idle.getresponse().read()
    for training in trainings:
        training.start()
    time.sleep(0.7)
    slow = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    slow.request("GET", f"{API}/metrics/get-history?run_id={run_ids[8]}&metric_key=long")
    server.process.send_signal(signal.SIGTERM)
    assert len(json.load(slow.getresponse())["metrics"]) == POINTS, "it was in hand, or waited to be taken in"
    assert server.process.wait(30) == 0
    slow.close()
    assert idle.sock.recv(1) == b"", "a connection that nobody uses is closed"
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        connect(server.url)

    for training in trainings:
        training.stop()
    assert [training.broken for training in trainings] == [0] * 8
    assert all(training.acknowledged and training.away for training in trainings)
    with contextlib.closing(open_store(server.store)) as store:
        check(
            trainings,
            lambda training: [point.step for point in store.get_metric_history(training.run_id, "loss").items],
        )


def test_it_ends_in_time_whatever_its_clients_do(start):
    server = start(server_drain="1", server_body_timeout="60")
    head = (
        f"POST {API}/runs/create HTTP/1.1\r\nHost: {urlsplit(server.url).netloc}\r\nContent-Type: application/json\r\n"
    )
    with connect(server.url) as half, connect(server.url) as silent:
        half.sendall(head.encode() + b'Content-Length: 100\r\n\r\n{"experiment')
        silent.sendall(b"GET /ver")
        time.sleep(0.2)
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 8
