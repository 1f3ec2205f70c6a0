"""A run to record in, and processes to kill."""

from __future__ import annotations

import subprocess
import sys

import pytest

from prefect_ml.tracking.datasets.record import _describe


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "10")
    monkeypatch.setenv("PREFECT_ML_FLUSH_INTERVAL", "0.05")


@pytest.fixture
def digest():
    """The digest of data that can be read."""

    def of(data):
        facts = _describe(data)
        assert not facts.unread, facts.unread
        return facts.digest

    return of


@pytest.fixture
def start():
    """Starts Python scripts, and ends those that still run."""
    processes = []

    def run(script, *arguments):
        command = [sys.executable, "-c", script, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
