"""What tracking costs, beside MLflow on SQLite with its fluent API, in one run.

    python benchmarks/tracking.py

(a) the latency of a `log_metric` call inside a task, (b) a tracked empty flow against the same flow
untracked, Prefect's heartbeat off, (c) points a second until they are in the database. About two minutes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOME = Path(tempfile.mkdtemp(prefix="prefect-ml-benchmark-"))
os.environ |= {
    "PREFECT_HOME": str(HOME / "prefect"),
    "PREFECT_ML_HOME": str(HOME / "prefect-ml"),
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

OURS_CALLS = 50_000
THEIR_CALLS = 300
FLOW_PAIRS = 25
OURS_POINTS = 200_000
THEIR_POINTS = 300


def latencies(log: Callable[[str, float, int], object], calls: int) -> list[float]:
    """Microseconds of each call, in order of size."""
    found = []
    for step in range(calls):
        start = time.perf_counter_ns()
        log("loss", step / 7, step)
        found.append((time.perf_counter_ns() - start) / 1000)
    return sorted(found)


def show(title: str, ours: float, theirs: float, unit: str, *, larger_is_better: bool = False) -> None:
    ratio = ours / theirs if larger_is_better else theirs / ours
    print(f"{title:<46} {ours:>12,.1f} {theirs:>12,.1f}  {unit:<8} {ratio:>8,.1f}x")


@contextlib.contextmanager
def their_run() -> Iterator[Callable[[str, float, int], object]]:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{HOME / 'mlflow.db'}")
    mlflow.set_experiment("benchmark")
    with mlflow.start_run():
        yield lambda key, value, step: mlflow.log_metric(key, value, step=step)


def call_latency() -> None:
    from prefect import flow, task

    import prefect_ml as ml

    @task
    def work() -> list[float]:
        return latencies(ml.log_metric, OURS_CALLS)

    @ml.track(experiment="benchmark-calls")
    @flow
    def train() -> list[float]:
        return work()

    train()
    ours = train()
    with their_run() as log:
        latencies(log, 20)
        theirs = latencies(log, THEIR_CALLS)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        at = [found[int(len(found) * share)] for found in (ours, theirs)]
        show(f"log_metric in a task, {name}", at[0], at[1], "us")


def empty_flow() -> None:
    import mlflow
    from prefect import flow

    import prefect_ml as ml

    def body() -> None:
        return None

    bare = flow(body, name="bare")
    tracked = ml.track(experiment="benchmark-flows")(flow(body, name="tracked"))

    @flow(name="theirs")
    def theirs() -> None:
        with mlflow.start_run():
            body()

    mlflow.set_tracking_uri(f"sqlite:///{HOME / 'mlflow.db'}")
    mlflow.set_experiment("benchmark")
    kinds = {"bare": bare, "tracked": tracked, "theirs": theirs}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(FLOW_PAIRS + 3):
        for name, one in kinds.items():
            start = time.perf_counter()
            one()
            if turn >= 3:
                times[name].append((time.perf_counter() - start) * 1000)
    median = {name: statistics.median(found) for name, found in times.items()}
    spread = {name: statistics.quantiles(found, n=4) for name, found in times.items()}
    for name, value in median.items():
        low, _, high = spread[name]
        print(f"empty flow, {name:<34} {value:>12,.1f} ms (quartiles {low:.1f} to {high:.1f})")
    show("  tracking adds", median["tracked"] - median["bare"], median["theirs"] - median["bare"], "ms")


def durable_points() -> None:
    import prefect_ml as ml

    start = time.perf_counter()
    with ml.start_run("benchmark-points") as run:
        for step in range(OURS_POINTS):
            run.log_metric("loss", step / 7, step)
        if not run.flush(120):
            raise TimeoutError("The points are not in the store after two minutes.")
    ours = OURS_POINTS / (time.perf_counter() - start)
    if len(ml.get_metric_history(run.run_id, "loss")) != OURS_POINTS:
        raise ValueError("Points are missing.")
    with their_run() as log:
        start = time.perf_counter()
        for step in range(THEIR_POINTS):
            log("loss", step / 7, step)
        theirs = THEIR_POINTS / (time.perf_counter() - start)
    show("points until durable", ours, theirs, "/s", larger_is_better=True)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        print(f"{'':<46} {'prefect-ml':>12} {'MLflow':>12}  {'':<8} {'ratio':>9}")
        call_latency()
        empty_flow()
        durable_points()


if __name__ == "__main__":
    main()
