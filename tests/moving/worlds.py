"""Worlds that MLflow writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PYTHONWARNINGS": "ignore",
}


class World:
    """What MLflow wrote: where it is, and what it says of it itself."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        command = [sys.executable, HERE / "mlflow_world.py", url, folder]
        done = subprocess.run(
            command, env={**os.environ, **QUIET}, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        self.told = json.loads(done.stdout.splitlines()[-1])
        self.run = self.told["run"]
        self.deleted = self.told["deleted"]
        self.model = self.told["model"]
