"""Short waits, and processes of training that tests start and kill."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


class Start(Protocol):
    def __call__(self, script: str, *arguments: str) -> subprocess.Popen[str]: ...


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "5")
    monkeypatch.setenv("PREFECT_ML_FLUSH_INTERVAL", "0.05")


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python scripts, and ends those that still run."""
    processes: list[subprocess.Popen[str]] = []

    def run(script: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
