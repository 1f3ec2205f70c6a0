"""Logs points of one curve and says how long that took; run by `tracking.py` in processes of its own.

    python load.py '{"how": "ours", "uri": "", "points": 1000, "seconds": 5}'

Waits for a line on its standard input before it starts, so that several start together.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Log = "Callable[[float, int], object]"
WARM_UP = 20


@contextmanager
def ours(_: str) -> Iterator[tuple[Log, Callable[[], object]]]:
    import prefect_ml as ml

    with ml.start_run("benchmark") as run:

        def durable() -> None:
            if not run.flush(300):
                raise TimeoutError("The points are not in the store after five minutes.")

        yield lambda value, step: run.log_metric("loss", value, step), durable


@contextmanager
def theirs(uri: str, *, synchronous: bool) -> Iterator[tuple[Log, Callable[[], object]]]:
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("benchmark")
    with mlflow.start_run():
        yield (
            lambda value, step: mlflow.log_metric("loss", value, step=step, synchronous=synchronous),
            (lambda: None) if synchronous else mlflow.flush_async_logging,
        )


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    spec = json.loads(sys.argv[1])
    how, points = spec["how"], spec["points"]
    kept = ours(spec["uri"]) if how == "ours" else theirs(spec["uri"], synchronous=how == "sync")
    most = spec["seconds"] * 1_000_000_000
    took: list[int] = []
    with kept as (log, durable):
        for step in range(WARM_UP):
            log(0.5, -step - 1)
        durable()
        print("ready", flush=True)
        sys.stdin.readline()
        began, clock, worked = time.time(), time.perf_counter_ns, time.process_time()
        first = clock()
        for step in range(points):
            before = clock()
            log(step / 7, step)
            after = clock()
            took.append(after - before)
            if after - first > most:
                break
        durable()
        ended, worked = time.time(), time.process_time() - worked
    took.sort()
    found = {"p50": took[len(took) // 2] / 1000, "p99": took[int(len(took) * 0.99)] / 1000}
    found["cpu"] = worked / len(took) * 1e6
    print(json.dumps(found | {"points": len(took), "began": began, "ended": ended}))


if __name__ == "__main__":
    main()
