"""The main job, as a newcomer runs it at a terminal, and what is there afterwards."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).parent / "prefect-ml")


def at_a_terminal(
    arguments: list[str], env: dict[str, str], answers: dict[str, str], seconds: float
) -> tuple[int, str]:
    """Run a command on a pseudo-terminal, answering each question when it appears."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    said, deadline = "", time.monotonic() + seconds
    waiting = dict(answers)
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.5)[0]:
                continue
            try:
                said += os.read(ours, 65536).decode(errors="replace")
            except OSError:  # Linux says so when the other side is closed
                break
            for question in [q for q in waiting if q in said]:
                os.write(ours, waiting.pop(question).encode())
    finally:
        os.close(ours)
        process.terminate() if process.poll() is None and time.monotonic() >= deadline else None
        code = process.wait(60)
    return code, said


@pytest.mark.timeout(280)
def test_the_quickstart_asks_at_the_terminal_and_serves_the_champion(tmp_path):
    env = {**os.environ, "PREFECT_HOME": str(tmp_path), "COLUMNS": "200", "TERM": "dumb"}
    env.pop("PREFECT_ML_HOME", None)
    env.pop("PREFECT_API_URL", None)
    code, said = at_a_terminal([COMMAND, "quickstart"], env, {"[y/n]": "y\n"}, seconds=240)
    assert code == 0, said
    assert "200 in" in said

    def ask(*arguments: str) -> object:
        done = subprocess.run([COMMAND, *arguments, "--json"], env=env, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    runs = ask("runs", "list", "--experiment", "quickstart")
    assert len(runs) == 5
    assert {run["status"] for run in runs} == {"FINISHED"}
    candidates = [run for run in runs if "alpha" in run["params"]]
    assert len({run["tags"]["mlflow.parentRunId"] for run in candidates}) == 1
    files = {file["name"] for file in ask("runs", "show", candidates[0]["run_id"])["artifacts"]}
    assert files - {"source"} == {"environment", "model", "roc.png"}  # and the changes that are not committed
    assert len(ask("runs", "history", candidates[0]["run_id"], "train_loss")) == 20
    request = ask("requests")[0]
    assert (request["status"], request["decisions"][0]["channel"]) == ("PROMOTED", "terminal")
    model = ask("models", "show", "breast-cancer")
    assert model["aliases"] == {"champion": 1}
