"""Short waits, and scripts in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

Script = Callable[..., str]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "10")
    monkeypatch.setenv("PREFECT_ML_FLUSH_INTERVAL", "0.05")
    monkeypatch.delenv("PREFECT_ML_SYSTEM_METRICS_INTERVAL")


@pytest.fixture
def script() -> Script:
    """Runs Python code in a process of its own and returns what it prints."""

    def run(code: str, *options: str) -> str:
        command = [sys.executable, *options, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
