"""Clients that log to a server over plain HTTP, and a comparison of what was acknowledged with what is stored."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

API = "/api/2.0/mlflow"
# What a client sees of a server that is away; the same request is sent again.
AWAY = (ConnectionError, http.client.HTTPException, OSError)


@dataclass
class Training(threading.Thread):
    """Logs to one run, point by point and now and then in batches, over a connection that it keeps.

    Args:
        url: of the server.
        run_id: that it logs to.
        token: that it sends.
        pause: seconds between two calls.

    Attributes:
        acknowledged: steps that the server has confirmed.
        away: calls that did not reach a server, and were sent again.
        busy: calls that a server answered with 503 and Retry-After, and were sent again.
        broken: calls that were cut off after the connection had been kept by an answer.
        wrong: answers that should not be.
    """

    url: str
    run_id: str
    token: str = ""
    pause: float = 0.0
    acknowledged: set[int] = field(default_factory=set)
    away: int = 0
    busy: int = 0
    broken: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._stop_asked = threading.Event()
        self._connection: http.client.HTTPConnection | None = None

    __hash__ = threading.Thread.__hash__
    __eq__ = threading.Thread.__eq__

    def run(self) -> None:
        step = 0
        while not self._stop_asked.is_set():
            size = 20 if step % 7 == 6 else 1
            if self._log(range(step, step + size)):
                self.acknowledged.update(range(step, step + size))
                step += size
            time.sleep(self.pause)
        if self._connection is not None:
            self._connection.close()

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(30)
        assert not self.is_alive()

    def _log(self, steps: range) -> bool:
        points = [
            {"key": "loss", "value": 1 / (1 + step), "timestamp": 1_700_000_000_000 + step, "step": step}
            for step in steps
        ]
        kept = self._connection is not None
        try:
            if len(points) == 1:
                status, retry, text = self._post("runs/log-metric", {"run_id": self.run_id, **points[0]})
            else:
                status, retry, text = self._post("runs/log-batch", {"run_id": self.run_id, "metrics": points})
        except AWAY as error:
            self._connection = None
            self.away += 1
            self.broken += kept and not isinstance(error, ConnectionRefusedError)
            self._stop_asked.wait(0.02)
            return False
        if status == 503 and retry:
            self.busy += 1
            self._stop_asked.wait(0.05)
            return False
        if status != 200:
            self.wrong.append(f"{status} {text}")
        return status == 200

    def _post(self, path: str, body: object) -> tuple[int, str | None, str]:
        if self._connection is None:
            place = urlsplit(self.url)
            self._connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        self._connection.request("POST", f"{API}/{path}", json.dumps(body), headers)
        answer = self._connection.getresponse()
        text = answer.read().decode()
        if answer.will_close:
            self._connection.close()
            self._connection = None
        return answer.status, answer.getheader("Retry-After"), text


def new_runs(url: str, count: int, token: str = "") -> list[str]:
    """So many new runs of the first experiment."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=url + API, headers=headers, timeout=30) as client:
        answers = [client.post("/runs/create", json={"experiment_id": "0"}) for _ in range(count)]
    return [answer.raise_for_status().json()["run"]["info"]["run_id"] for answer in answers]


def stored(url: str, run_id: str, token: str = "") -> list[int]:
    """The steps of a run's curve, as often as they are stored."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    query = {"run_id": run_id, "metric_key": "loss"}
    answer = httpx.get(f"{url}{API}/metrics/get-history", params=query, headers=headers, timeout=30)
    return [int(point["step"]) for point in answer.raise_for_status().json().get("metrics", [])]


def compare(url: str, trainings: list[Training]) -> None:
    """Every acknowledged point is stored, and none twice, as the server tells."""
    check(trainings, lambda training: stored(url, training.run_id, training.token))


def check(trainings: list[Training], steps_of: Callable[[Training], list[int]]) -> None:
    """Every acknowledged point is among the steps that are stored, and none twice."""
    for training in trainings:
        steps = steps_of(training)
        assert len(steps) == len(set(steps)), "a point is stored twice"
        assert training.acknowledged <= set(steps), "an acknowledged point is lost"
        assert training.wrong == []
