"""A training script without flows: logs until there is a file. `python plain.py FILE`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import prefect_ml as ml

with ml.start_run("status") as run:
    Path(f"{sys.argv[1]}.run").write_text(run.run_id)
    step = 0
    while not Path(sys.argv[1]).exists():
        ml.log_metric("alive", 1, step=step)
        step += 1
        time.sleep(0.05)
