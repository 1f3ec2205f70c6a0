"""What holds for every request: prefixes, headers, bodies, methods, and what browsers are told."""

from __future__ import annotations

import httpx
import pytest

RUN = "/api/2.0/mlflow/runs/create"
JSON = {"Content-Type": "application/json"}


def test_health_and_version_are_plain_text(api):
    for path, text in (("/health", "OK"), ("/version", None)):
        answer = api.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert text is None or answer.text == text


def test_a_path_answers_under_both_prefixes(api):
    for prefix in ("/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"):
        run = api.send("POST", "runs/create", {"experiment_id": "0"}, prefix=prefix).json()["run"]["info"]["run_id"]
        assert api.client.get(f"{prefix}runs/get", params={"run_id": run}).json()["run"]["info"]["run_id"] == run


def test_some_paths_are_those_of_the_page_alone(api):
    asked = {"run_id": "a", "metric_key": "b"}
    for path in ("metrics/get-history-bulk", "metrics/get-history-bulk-interval"):
        assert api.client.get(f"/api/2.0/mlflow/{path}", params=asked).status_code == 404
        assert api.client.get(f"/ajax-api/2.0/mlflow/{path}", params=asked).status_code in {400, 404}
        assert api.client.get(f"/ajax-api/2.0/mlflow/{path}").json()["error_code"] == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        ({}, b"{}", "Bad Request. Content-Type header is missing."),
        ({"Content-Type": "text/plain"}, b"{}", "must be one of ['application/json']."),
        (JSON, b'{"run_id"', "Missing value for required parameter 'run_id'"),
        (JSON, b"", "Missing value for required parameter 'run_id'"),
        (JSON, b"\xff\xfe", "Missing value for required parameter 'run_id'"),
        (JSON, b"[1]", "must be a JSON object"),
        (JSON, b'"text"', "must be a JSON object"),
        (JSON, b'{"run_id": null}', "Missing value for required parameter 'run_id'"),
        (JSON, b'{"run_id": {"a": 1}}', "Invalid value {\"a\": 1} for parameter 'run_id' supplied"),
        (JSON, b'{"run_id": "a", "metrics": [5]}', "parameter 'metrics[0]' supplied: Input should be a valid object."),
    ],
)
def test_a_body_that_is_none_is_refused_in_a_sentence(api, headers, body, message):
    answer = api.client.post("/api/2.0/mlflow/runs/log-batch", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert message in answer.json()["message"]
    assert answer.headers["content-type"] == "application/json"


def test_what_is_unknown_is_ignored_and_a_charset_is_fine(api):
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = api.client.post(RUN, content=b'{"experiment_id": "0", "of tomorrow": [1]}', headers=headers)
    assert answer.status_code == 200


def test_a_bare_nan_is_taken(api):
    run = api.post("runs/create")["run"]["info"]["run_id"]
    body = b'{"run_id": "%b", "key": "a", "timestamp": 1, "value": NaN}' % run.encode()
    assert api.client.post("/api/2.0/mlflow/runs/log-metric", content=body, headers=JSON).status_code == 200
    [metric] = api.get("runs/get", run_id=run)["run"]["data"]["metrics"]
    assert metric["value"] == "NaN"


def test_unknown_paths_and_wrong_methods_are_told_by_the_status(api):
    assert api.client.get("/api/2.0/mlflow/nothing/here").status_code == 404
    assert api.client.get("/api/2.0/mlflow/nothing/here").headers["content-type"].startswith("text/html")
    for method, path in (("GET", "runs/create"), ("POST", "runs/get"), ("DELETE", "runs/search"), ("PUT", "runs/get")):
        answer = api.client.request(method, f"/api/2.0/mlflow/{path}")
        assert answer.status_code == 405
        assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("POST", "/api/2.0/mlflow/traces/search", "traces"),
        ("POST", "/api/3.0/mlflow/traces", "traces"),
        ("GET", "/ajax-api/3.0/mlflow/traces/tr-1", "traces"),
        ("GET", "/ajax-api/2.0/mlflow/get-trace-artifact", "traces"),
        ("POST", "/v1/traces", "traces"),
        ("POST", "/api/3.0/mlflow/datasets/search", "evaluation data sets"),
        ("GET", "/api/3.0/mlflow/scorers/list", "scorers"),
        ("POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run", "prompt lab"),
        ("POST", "/graphql", "GraphQL"),
    ],
)
def test_what_is_not_kept_says_so(api, method, path, what):
    answer = api.client.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == 501
    assert answer.json()["error_code"] == "NOT_IMPLEMENTED"
    assert what in answer.json()["message"]


def test_every_answer_has_the_headers_of_security(api):
    for answer in (api.client.get("/health"), api.client.post(RUN, json={}), api.client.get("/none")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"


def test_other_hosts_and_origins_are_refused(api):
    rebound = api.client.get("/api/2.0/mlflow/experiments/search", headers={"Host": "evil.example"})
    assert rebound.status_code == 403
    assert "Invalid Host header - possible DNS rebinding attack detected" in rebound.text
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        crossed = api.client.post(RUN, json={}, headers={"Origin": origin})
        assert crossed.status_code == 403
        assert "Cross-origin request blocked" in crossed.text
        assert "access-control-allow-origin" not in crossed.headers
        assert "access-control-allow-origin" not in preflight(api.client, origin).headers


def test_pages_of_this_machine_may_ask_and_read(api):
    for origin in ("http://localhost:3000", "http://127.0.0.1:8888"):
        asked = preflight(api.client, origin)
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == origin
        assert "POST" in asked.headers["access-control-allow-methods"]
        assert "content-type" in asked.headers["access-control-allow-headers"]
        answer = api.client.post(RUN, json={"experiment_id": "0"}, headers={"Origin": origin})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
    assert "access-control-allow-origin" not in api.client.get("/health").headers


def preflight(client: httpx.Client, origin: str) -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return client.options(RUN, headers=headers)
