"""What the command line shows of how a run was executed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_ml.entities import (
    Attempt,
    JournalSpan,
    Metric,
    Recorded,
    RunBatch,
    RunEnd,
    RunStart,
    RunStatus,
    Source,
    Step,
)
from prefect_ml.store import open_store

COMMAND = str(Path(sys.executable).parent / "prefect-ml")
RUN = "a" * 32


@pytest.fixture
def retried(home):
    """A run of two attempts, and of two steps of which one was retried and recorded something."""
    store = open_store()
    first, second = (Attempt(RUN, f"a{n}", n, n * 10_000, host="host", pid=n) for n in (1, 2))
    fit = Source("a2", 2, 20_000, "fit:1", 1, "t1")
    batches = [
        RunBatch(RUN, RunStart("churn", "r", "me", 10_000, {}, first), end=RunEnd(RunStatus.FAILED, 15_000, "a1", 1)),
        RunBatch(
            RUN,
            RunStart("churn", "r", "me", 20_000, {}, second),
            recorded=[Recorded(fit, [Metric("auc", 0.5, 1, 0)], {"artifact": ["roc.png"]})],
            end=RunEnd(RunStatus.FINISHED, 95_000, "a2", 2),
        ),
    ]
    store.apply_journal(JournalSpan("j", 0, 8), batches)
    steps = [
        Step("t1", "fit-0", "fit:1", "Completed", 20_000, 90_000, 3),
        Step("t2", "load-0", "load:1", "Cached", None, None, 0),
    ]
    store.save_steps(RUN, steps)
    store.close()


def show(*arguments):
    done = subprocess.run([COMMAND, "runs", *arguments], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.usefixtures("retried")
def test_steps(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TZ", "UTC")
    lines = {line.split()[1]: line.split() for line in show("steps", RUN).splitlines() if "-0" in line}
    fit, load = lines["fit-0"], lines["load-0"]
    assert "Completed" in fit
    cells = ["".join(cell.split()) for cell in " ".join(fit).split("│")]
    assert cells[1:] == ["fit-0", "Completed", "1970-01-0100:00:20", "70.0s", "2", "artifactroc.png;metricauc", ""]
    assert "Cached" in load


@pytest.mark.usefixtures("retried")
def test_attempts():
    first, second = json.loads(show("attempts", RUN, "--json"))
    assert (first["number"], first["outcome"], first["end_time"]) == (1, "FAILED", 15_000)
    assert (second["number"], second["outcome"], second["pid"]) == (2, "FINISHED", 2)
