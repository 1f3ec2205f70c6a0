"""What a project's command waits for before it starts, and what is safe by then."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import RunStatus
from prefect_ml.models.this_platform import this_platform
from prefect_ml.projects.run import ABOUT_FILE
from prefect_ml.store import open_store
from prefect_ml.tracking.sync import sync_journals

# Says what is loaded before the command line is read, and when the command's guard is started.
TOLD = """
import sys
def loaded():
    print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}), flush=True)
def hook(event, arguments):
    if event in ("subprocess.Popen", "os.posix_spawn") and "guard" in str(arguments[1]):
        loaded()
import prefect_ml.cli.projects
from prefect_ml.cli import main
loaded()
sys.addaudithook(hook)
sys.argv = ["prefect-ml", "run", sys.argv[1], "-e", "main.py", "--experiment", "killed", "-P", "rate=3"]
main()
"""
STORE = {"sqlalchemy", "alembic", "httpx", "asyncio"}
HEAVY = STORE | {"pydantic", "fastapi", "prefect"}
KILLS = """
import os, signal
guard = os.getppid()
starter = int(open(f"/proc/{guard}/stat").read().rpartition(")")[2].split()[1])
os.kill(starter, signal.SIGKILL)
signal.pause()
"""


def project(folder: Path, script: str) -> Path:
    folder.mkdir()
    (folder / "main.py").write_text(script)
    return folder


def test_a_command_starts_before_the_store_is_loaded_and_what_was_recorded_outlives_a_starter_killed_then(
    tmp_path, monkeypatch
):
    folder = project(tmp_path / "project", KILLS)
    # An environment without MLflow's client, which would be served.
    (folder / "python_env.yaml").write_text("dependencies: []\n")
    # The store is opened in the background after that time, or when the command is on its way.
    monkeypatch.setenv("PREFECT_ML_FLUSH_INTERVAL", "600")
    done = subprocess.run(
        [sys.executable, "-c", TOLD, str(folder)], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    before, spawned = ({*line.split()} for line in done.stdout.splitlines() if line.startswith("LOADED"))
    assert not HEAVY & before
    assert not STORE & spawned
    store, until = open_store(), time.monotonic() + 60
    try:
        while time.monotonic() < until:
            sync_journals(store)
            runs = store.search_runs([store.get_experiment_by_name("killed").experiment_id]).items
            if runs and runs[0].status is RunStatus.KILLED:
                break
            time.sleep(0.1)
        (run,) = runs
        assert (run.status, run.params) == (RunStatus.KILLED, {"rate": "3"})
        assert b'"entry_point": "main.py"' in open_artifacts(run.artifact_uri).read(ABOUT_FILE)
    finally:
        store.close()
    assert not (Path(os.environ["PREFECT_ML_HOME"]) / "journal" / run.run_id).exists()


def test_environments_are_told_apart_by_what_python_calls_the_platform():
    assert this_platform() == platform.platform()
