"""The curves over the wire: one, several, and evenly sampled ones."""

from __future__ import annotations

import uuid

import pytest

BULK = "GetMetricHistoryBulk request"


@pytest.fixture(scope="module")
def runs(api):
    """Two runs; the first has 100 steps of `m`, the second 3."""
    made = []
    for steps in (100, 3):
        run = api.post("runs/create", experiment_id="0")["run"]["info"]["run_id"]
        points = [{"key": "m", "value": n, "timestamp": 1000 - n, "step": n} for n in range(steps)]
        api.post("runs/log-batch", run_id=run, metrics=points)
        made.append(run)
    return made


def ajax(api, path, **query):
    return api.client.get(f"/ajax-api/2.0/mlflow/metrics/{path}", params=query)


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("get-history", {"run_id": "a"}, "Missing value for required parameter 'metric_key'"),
        ("get-history", {"metric_key": "m"}, "Missing value for required parameter 'run_id'"),
        ("get-history", {"run_id": 0, "metric_key": "m", "page_token": "evilhax"}, "Invalid page token"),
        ("get-history-bulk", {}, f"{BULK} must specify at least one run_id."),
        ("get-history-bulk", {"run_id": ["a"] * 101}, f"{BULK} cannot specify more than 100 run_ids. Received 101"),
        ("get-history-bulk", {"run_id": 0}, f"{BULK} must specify a metric_key."),
        ("get-history-bulk-interval", {}, "Missing value for required parameter 'run_ids'"),
        ("get-history-bulk-interval", {"run_ids": 0}, "Missing value for required parameter 'metric_key'"),
        ("get-history-bulk-interval", {"run_ids": ["a"] * 101, "metric_key": "m"}, "Received 101 run_ids"),
        (
            "get-history-bulk-interval",
            {"run_ids": 0, "metric_key": "m", "start_step": 1},
            "If either start step or end step are specified, both must be specified.",
        ),
        (
            "get-history-bulk-interval",
            {"run_ids": 0, "metric_key": "m", "start_step": 1, "end_step": 0},
            "end_step must be greater than start_step. Found start_step=1 and end_step=0.",
        ),
        (
            "get-history-bulk-interval",
            {"run_ids": 0, "metric_key": "m", "max_results": 0},
            "max_results must be between 1 and 2500",
        ),
        (
            "get-history-bulk-interval",
            {"run_ids": 0, "metric_key": "m", "max_results": 2501},
            "max_results must be between 1 and 2500",
        ),
    ],
)
def test_what_is_refused_says_so_in_mlflows_words(api, runs, path, query, message):
    query = {name: runs[0] if value == 0 and name.startswith("run_id") else value for name, value in query.items()}
    answer = ajax(api, path, **query)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert message in answer.json()["message"]


def test_a_history_goes_by_time_and_bulk_reads_by_step(api, runs):
    by_time = api.get("metrics/get-history", run_id=runs[1], metric_key="m")["metrics"]
    assert [each["step"] for each in by_time] == [2, 1, 0]
    by_step = ajax(api, "get-history-bulk", run_id=runs[1], metric_key="m").json()["metrics"]
    assert [each["step"] for each in by_step] == [0, 1, 2]
    few = ajax(api, "get-history-bulk", run_id=runs, metric_key="m", max_results=2).json()["metrics"]
    assert len(few) == 2


def test_an_interval_is_sampled_with_both_ends(api, runs):
    query = {"run_ids": runs[0], "metric_key": "m", "start_step": 10, "end_step": 30, "max_results": 5}
    found = ajax(api, "get-history-bulk-interval", **query).json()["metrics"]
    steps = [each["step"] for each in found]
    assert steps == sorted(set(steps))
    assert 2 <= len(steps) <= 6
    assert steps[-1] == 30
    assert all(10 <= step <= 30 for step in steps)
    assert {each["run_id"] for each in found} == {runs[0]}
    single = ajax(api, "get-history-bulk-interval", **{**query, "start_step": 10, "end_step": 10}).json()["metrics"]
    assert [each["step"] for each in single] == [10]


def test_a_run_or_metric_that_is_not_there(api, runs):
    unknown = ajax(api, "get-history-bulk", run_id=uuid.uuid4().hex, metric_key="m")
    assert (unknown.status_code, unknown.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert ajax(api, "get-history-bulk", run_id=runs[0], metric_key="none").json() == {}
    assert ajax(api, "get-history-bulk-interval", run_ids=runs[0], metric_key="none").json() == {}


def test_zero_results_are_all_of_them(api, runs):
    found = api.get("metrics/get-history", run_id=runs[0], metric_key="m", max_results="0")
    assert len(found["metrics"]) == 100
    assert "next_page_token" not in found
