"""Scores one chunk at a time, and prints the peak of its memory in KiB."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from prefect_ml.flows.batch_score import batch_score

if __name__ == "__main__":
    model, given, output, rows, runner = sys.argv[1:]
    batch_score(model, given, output, rows_per_chunk=int(rows), task_runner=runner, parallel=1)
    # What getrusage tells may be the parent's, from before this program was loaded.
    [peak] = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    sys.stdout.write(f"\n{peak}\n")
