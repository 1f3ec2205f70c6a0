"""The curves of runs."""

from __future__ import annotations

from pydantic import Field

from prefect_ml.errors import InvalidInputError
from prefect_ml.protocol.answers import runs as answers
from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.fields import Int64, Text
from prefect_ml.protocol.route import Routes
from prefect_ml.protocol.routes.runs import RunId
from prefect_ml.protocol.wire import Request

routes = Routes("Metrics")

MAX_RUNS = 100
MAX_BULK = 25_000
MAX_INTERVAL = 2500


class GetHistory(RunId):
    metric_key: Text = Field(examples=["loss"])
    max_results: Int64 | None = Field(None, description="Points of a page; all when absent.")
    page_token: Text = ""


class GetBulk(Request):
    run_id: list[Text] = Field(default_factory=list, description="1 to 100 of them.")
    metric_key: Text = ""
    max_results: Int64 = MAX_BULK


class GetInterval(Request):
    run_ids: list[Text] = Field(description="1 to 100 of them.", examples=[["0f6d3a4f9f5c4d8f8d2a2f1c9d1f7a55"]])
    metric_key: Text = Field(examples=["loss"])
    start_step: Int64 | None = None
    end_step: Int64 | None = None
    max_results: Int64 = Field(MAX_INTERVAL, description="Points of each run at most; 1 to 2,500.")


@routes.on("GET", "metrics/get-history")
def get_history(here: Backend, request: GetHistory) -> answers.History:
    """Get the points of one curve, by time, step and value."""
    found = here.store.get_metric_history(
        request.id, request.metric_key, request.max_results or None, request.page_token or None, by_time=True
    )
    return answers.history(found.items, found.next_token)


@routes.on("GET", "metrics/get-history-bulk", ajax_only=True)
def get_history_bulk(here: Backend, request: GetBulk) -> answers.RunHistories:
    """Get the points of a metric of several runs, run by run."""
    what = "GetMetricHistoryBulk request"
    if not request.run_id:
        raise InvalidInputError(f"{what} must specify at least one run_id.")
    if len(request.run_id) > MAX_RUNS:
        raise InvalidInputError(
            f"{what} cannot specify more than {MAX_RUNS} run_ids. Received {len(request.run_id)} run_ids."
        )
    if not request.metric_key:
        raise InvalidInputError(f"{what} must specify a metric_key.")
    left = min(request.max_results, MAX_BULK)
    found = []
    for run_id in sorted(set(request.run_id)):
        if left <= 0:
            break
        points = here.store.get_metric_history(run_id, request.metric_key, left).items
        left -= len(points)
        found.append((run_id, points))
    return answers.run_histories(found)


@routes.on("GET", "metrics/get-history-bulk-interval", ajax_only=True)
def get_history_interval(here: Backend, request: GetInterval) -> answers.RunHistories:
    """Get points of a metric of several runs, sampled evenly over their steps; the last step of each is among them."""
    if not 0 < len(request.run_ids) <= MAX_RUNS:
        raise InvalidInputError(
            f"GetMetricHistoryBulkInterval request must specify 1 to {MAX_RUNS} run_ids. Received "
            f"{len(request.run_ids)} run_ids."
        )
    if (request.start_step is None) != (request.end_step is None):
        raise InvalidInputError("If either start step or end step are specified, both must be specified.")
    if request.start_step is not None and request.end_step is not None and request.start_step > request.end_step:
        raise InvalidInputError(
            f"end_step must be greater than start_step. Found start_step={request.start_step} and "
            f"end_step={request.end_step}."
        )
    if not 0 < request.max_results <= MAX_INTERVAL:
        raise InvalidInputError(f"max_results must be between 1 and {MAX_INTERVAL}, got {request.max_results}.")
    steps = None if request.start_step is None or request.end_step is None else (request.start_step, request.end_step)
    found = here.store.sample_metric_histories(request.run_ids, request.metric_key, steps, request.max_results)
    return answers.run_histories(found)
