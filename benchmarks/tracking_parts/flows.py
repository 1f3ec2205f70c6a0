"""What tracking adds to a Prefect flow and to a task; run by `tracking.py`.

    python flows.py 25

The flow is empty; the other one has ten tasks, each of which logs one metric. Prefect's heartbeat is off.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

import mlflow
from prefect import flow, task

import prefect_ml as ml

if TYPE_CHECKING:
    from collections.abc import Callable

TASKS = 10
CALLS = 20_000
Kinds = dict[str, "Callable[[], Any]"]


def empty_flows() -> Kinds:
    def body() -> None:
        return None

    @flow(name="theirs")
    def theirs() -> None:
        with mlflow.start_run():
            body()

    return {
        "bare": flow(body, name="bare"),
        "ours": ml.track(experiment="empty")(flow(body, name="ours")),
        "theirs": theirs,
    }


def flows_of_tasks() -> Kinds:
    @task
    def bare_task(n: int) -> int:
        return n

    @task
    def our_task(n: int) -> int:
        ml.log_metric("loss", n, n)
        return n

    @task
    def their_task(n: int, run_id: str) -> int:
        mlflow.log_metric("loss", n, step=n, run_id=run_id)
        return n

    @flow(name="bare tasks")
    def bare() -> None:
        for n in range(TASKS):
            bare_task(n)

    @ml.track(experiment="tasks")
    @flow(name="our tasks")
    def ours() -> None:
        for n in range(TASKS):
            our_task(n)

    @flow(name="their tasks")
    def theirs() -> None:
        with mlflow.start_run() as run:
            for n in range(TASKS):
                their_task(n, run.info.run_id)

    return {"bare": bare, "ours": ours, "theirs": theirs}


def medians(kinds: Kinds, turns: int) -> dict[str, float]:
    """Milliseconds of a run of each kind, one after the other in each turn."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(turns + 2):
        for name, one in kinds.items():
            start = time.perf_counter()
            one()
            if turn >= 2:
                times[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(found) for name, found in times.items()}


def call_in_a_task() -> dict[str, float]:
    """Microseconds of a `log_metric` call in a task of a tracked flow."""
    took = [0] * CALLS

    @task
    def work() -> None:
        for step in range(CALLS):
            before = time.perf_counter_ns()
            ml.log_metric("loss", step / 7, step)
            took[step] = time.perf_counter_ns() - before

    @ml.track(experiment="calls")
    @flow(name="calls")
    def train() -> None:
        work()

    train()
    took.sort()
    return {"p50": took[CALLS // 2] / 1000, "p99": took[int(CALLS * 0.99)] / 1000}


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    mlflow.set_tracking_uri(sys.argv[2])
    mlflow.set_experiment("flows")
    turns = int(sys.argv[1])
    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        empty, tasks = medians(empty_flows(), turns), medians(flows_of_tasks(), turns)
        found = {"empty": empty, "tasks": {name: value / TASKS for name, value in tasks.items()}}
        print(json.dumps(found | {"call": call_in_a_task()}))


if __name__ == "__main__":
    main()
