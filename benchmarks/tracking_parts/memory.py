"""Memory of one process that logs many points, sampled on the way; run by `tracking.py`.

python memory.py 10000000
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from pathlib import Path

import prefect_ml as ml

SAMPLES = 20


def resident() -> float:
    """Megabytes of this process that are in memory, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    logging.disable(logging.WARNING)
    points = int(sys.argv[1])
    found = []
    with ml.start_run("benchmark") as run:
        run.flush(60)  # the libraries of the store are loaded once
        for step in range(points):
            run.log_metric("loss", step / 7, step)
            if step % (points // SAMPLES) == 0:
                found.append(resident())
        if not run.flush(600):
            raise TimeoutError("The points are not in the store after ten minutes.")
        found.append(resident())
    stored = ml.open_store().sample_metric_history(run.run_id, "loss", 2)
    if [point.step for point in stored] != [0, points - 1]:
        raise ValueError("Points are missing.")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
