"""What a server tells of itself: numbers, a line for each request, and whether it can work."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time

import httpx
import pytest
from hammering import API, new_runs
from prometheus_client.parser import text_string_to_metric_families

from prefect_ml.artifacts import open_artifacts
from prefect_ml.artifacts.local import LocalArtifactStore
from prefect_ml.http.request_log import JsonLines, RequestLog
from prefect_ml.protocol.backend import Backend
from prefect_ml.server.health import Health
from prefect_ml.settings import Settings
from prefect_ml.store.open import open_served_store

POINT = {"key": "loss", "value": 1.0, "timestamp": 1, "step": 1}


def numbers(client: httpx.Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Each sample by its name and labels."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def requests(found, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(v for (name, given), v in found.items() if name == "prefect_ml_requests_total" and wanted <= given)


def lines(server) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.log().splitlines()]


def line_of(server, request_id: str, until) -> dict[str, object]:
    until(lambda: f'"{request_id}"' in server.log())
    [line] = [line for line in lines(server) if line.get("request_id") == request_id]
    return line


def test_requests_are_counted_by_the_template_of_their_route(server, client):
    before = numbers(client)
    run_id = new_runs(server.url, 1)[0]
    for step in range(7):
        client.post(f"{API}/runs/log-metric", json={"run_id": run_id, **POINT, "step": step}).raise_for_status()
    for number in range(3):
        client.get(f"{API}/logged-models/m-{number}")
    client.get("/api/2.0/mlflow-artifacts/artifacts/some/secret/name")
    after = numbers(client)

    def more(**labels: str) -> float:
        return requests(after, **labels) - requests(before, **labels)

    assert more(route=f"{API}/runs/log-metric", method="POST", status="200") == 7
    assert more(route=f"{API}/logged-models/{{model_id}}", method="GET", status="404") == 3
    assert more(route="artifacts", method="GET", status="404") == 1
    log_metric = frozenset({("method", "POST"), ("route", f"{API}/runs/log-metric")})
    assert after["prefect_ml_request_seconds_count", log_metric] >= 7
    assert 0 < after["prefect_ml_request_seconds_sum", log_metric] < 60
    assert after["prefect_ml_requests_in_flight", frozenset()] == 1
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert after[name, frozenset()] > 0


def test_no_client_can_add_to_the_number_of_labels(client):
    client.request("BREW", "/none")
    client.get("/none")
    client.get(f"{API}/traces/none")
    before = {key for key in numbers(client) if key[0] == "prefect_ml_requests_total"}
    for number in range(50):
        client.get(f"/none/{number}")
        client.get(f"{API}/none-{number}/search")
        client.request(f"BREW{number}", "/none")
        client.get(f"{API}/traces/{number}")
    after = {key for key in numbers(client) if key[0] == "prefect_ml_requests_total"}
    assert after - before <= {key for key in after if ("route", "/metrics") in key[1]}


def test_each_request_is_a_line_without_what_was_sent(server, client, until):
    answer = client.get(f"{API}/experiments/get?experiment_id=0&token=hidden", headers={"X-Request-Id": "line-1"})
    found = line_of(server, "line-1", until)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", str(found.pop("time")))
    assert 0 < float(str(found.pop("duration_ms"))) < 60_000
    assert found == {
        "level": "INFO",
        "request_id": "line-1",
        "method": "GET",
        "route": f"{API}/experiments/get",
        "status": 200,
        "bytes": len(answer.content),
        "client": "127.0.0.1",
    }
    body = {"name": "hidden", "tags": [{"key": "hidden", "value": "hidden"}]}
    client.post(f"{API}/experiments/create", json=body, headers={"Authorization": "Bearer hidden"})
    client.get("/hidden/path?hidden", headers={"X-Request-Id": "line-2", "Cookie": "hidden"})
    assert line_of(server, "line-2", until)["route"] == "none"
    assert "hidden" not in server.log()


def test_a_refusal_has_the_id_of_its_line(server, client, until):
    refused = client.post(f"{API}/experiments/create", json={})
    assert refused.status_code == 400
    assert line_of(server, refused.headers["x-request-id"], until)["status"] == 400


@pytest.mark.parametrize(("form", "written"), [("text", [503]), ("json", [200, 404, 503]), ("off", [])])
def test_the_form_of_the_log_says_which_requests_are_in_it(caplog, form, written):
    scope = {"type": "http", "method": "GET", "request_id": "r", "client": ("10.0.0.1", 7)}
    with caplog.at_level(logging.INFO, "prefect_ml.requests"):
        for status in (200, 404, 503):
            RequestLog(form).write(scope, "/version", status, 0.0123, 5)
    assert [record.args["status"] for record in caplog.records] == written
    if form == "text":
        assert caplog.messages == ["GET /version answered 503 in 12.3 ms to 10.0.0.1 (request r)"]
        assert caplog.records[0].levelname == "WARNING"


def test_other_records_are_lines_of_json_too():
    failed = (ValueError, ValueError("two\nlines"), None)
    record = logging.LogRecord("prefect_ml.x", logging.ERROR, __file__, 1, "Failed %s", ("here",), failed)
    text = JsonLines().format(record)
    assert "\n" not in text
    found = json.loads(text)
    assert (found["level"], found["logger"], found["message"]) == ("ERROR", "prefect_ml.x", "Failed here")
    assert found["traceback"].endswith("ValueError: two\nlines")


def test_health_and_version(client):
    assert client.get("/health").text == "OK"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", client.get("/version").text)


class SlowArtifacts(LocalArtifactStore):
    """Real artifacts in a folder, on a disk that takes its time or fails."""

    looks = 0
    seconds = 0.3
    away = False

    def list(self, *arguments, **named):
        type(self).looks += 1
        time.sleep(self.seconds)
        if self.away:
            raise OSError("The disk at /secret/place is gone.")
        return super().list(*arguments, **named)


@pytest.fixture
def health(tmp_path):
    settings = Settings(store_url=f"sqlite:///{tmp_path / 'store.db'}", artifact_root=str(tmp_path / "artifacts"))
    store = open_served_store(settings)
    open_artifacts(settings.resolved_artifact_root)
    artifacts = SlowArtifacts(tmp_path / "artifacts")
    artifacts.looks = SlowArtifacts.looks = 0
    made = Health(Backend(store, artifacts, store.database.at_once))
    yield made, artifacts
    made.close()
    store.close()


def test_however_many_ask_there_is_one_look_at_a_time_and_one_a_second(health):
    asked, _ = health

    async def ask():
        answers = await asyncio.gather(*(asked.answer() for _ in range(50)))
        assert {answer.body for answer in answers} == {b"OK"}
        assert SlowArtifacts.looks == 1
        await asked.answer()
        assert SlowArtifacts.looks == 1, "the answer of a moment ago is good"
        await asyncio.sleep(1.1)
        await asyncio.gather(*(asked.answer() for _ in range(50)))
        assert SlowArtifacts.looks == 2

    asyncio.run(ask())


def test_a_look_that_fails_or_hangs_is_503_in_bounded_time_and_tells_no_places(health, monkeypatch, caplog):
    asked, artifacts = health
    monkeypatch.setattr("prefect_ml.server.health._PATIENCE", 0.3)
    monkeypatch.setattr(artifacts, "seconds", 1.0)

    async def ask():
        begun = time.monotonic()
        hangs = await asked.answer()
        assert time.monotonic() - begun < 0.9
        assert hangs.status_code == 503
        assert json.loads(hangs.body)["message"].startswith("The server cannot reach its artifacts now")
        await asked.answer()
        assert SlowArtifacts.looks == 1, "a look that hangs is not made twice"
        await asyncio.sleep(1.1)
        artifacts.seconds, artifacts.away = 0, True
        fails = await asked.answer()
        assert fails.status_code == 503
        assert b"secret" not in fails.body

    asyncio.run(ask())
    assert "The disk at /secret/place is gone." in caplog.text
