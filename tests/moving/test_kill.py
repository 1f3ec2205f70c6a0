"""An import whose process is killed goes on where it was: nothing twice, nothing missing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefect_ml.moving.mlflow_database import MlflowDatabaseOrigin
from prefect_ml.moving.report import Kind
from prefect_ml.moving.transfer import take_over
from prefect_ml.store import open_store

COMMAND = Path(sys.executable).with_name("prefect-ml")
RUNS = 80


@pytest.fixture(scope="module")
def crowded(world, tmp_path_factory):
    """The world of MLflow's with many more runs, each with a curve and two files."""
    folder = tmp_path_factory.mktemp("crowded")
    path = folder / "mlflow.db"
    with sqlite3.connect(world.folder / "mlflow.db") as source, sqlite3.connect(path) as target:
        source.backup(target)
        for number in range(RUNS):
            run_id = f"{number:032x}"
            root = folder / "runs" / run_id
            for name in ("a.bin", "deep/er/b.bin"):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(f"{number} {name}".encode() * 1000)
            target.execute(
                "INSERT INTO runs (run_uuid, name, source_type, status, start_time, lifecycle_stage, artifact_uri, "
                "experiment_id) VALUES (?, ?, 'LOCAL', 'FINISHED', ?, 'active', ?, 1)",
                (run_id, f"run {number}", 1000 + number, f"file://{root}"),
            )
            rows = [("loss", step / 7, step, run_id, step) for step in range(40)]
            target.executemany(
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)", rows
            )
            target.execute(
                "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, 0, ?)",
                (*rows[-1][:3], rows[-1][4], run_id),
            )
    source.close()
    target.close()
    return f"sqlite:///{path}"


def test_an_import_that_was_killed_goes_on(crowded, migrated_file, tmp_path, monkeypatch):
    folder = tmp_path / "killed"
    folder.mkdir()
    store_path = folder / "store.db"
    store_path.write_bytes(migrated_file.read_bytes())
    environment = {
        **os.environ,
        "PREFECT_ML_STORE_URL": f"sqlite:///{store_path}",
        "PREFECT_ML_ARTIFACT_ROOT": str(folder / "artifacts"),
    }
    command = [COMMAND, "import", "mlflow", "--from", crowded]
    seen = 0
    for share in (0.2, 0.6):
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True) as process:
            while process.poll() is None and runs_in(store_path) < RUNS * share:
                time.sleep(0.005)
            process.kill()
        assert seen < runs_in(store_path) < RUNS
        seen = runs_in(store_path)
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, timeout=240, check=True)
    store = open_store(f"sqlite:///{store_path}")
    assert runs_in(store_path) == RUNS + 2
    monkeypatch.setenv("PREFECT_ML_ARTIFACT_ROOT", str(folder / "artifacts"))
    compare_with_what_is_there(store, crowded)
    store.close()


def compare_with_what_is_there(store, crowded):
    """Another look finds everything here, once."""
    origin = MlflowDatabaseOrigin(crowded)
    report = take_over(origin, store)
    assert report.complete
    assert report.counts[Kind.RUNS].present == RUNS + 2
    assert report.files == 2 * RUNS + 3
    for run_id in (f"{number:032x}" for number in range(0, RUNS, 10)):
        there = next(run for run in origin.runs(store.get_experiment("1")) if run.run_id == run_id)
        assert store.get_moved_run(run_id).points == origin.whole(there).points
    origin.close()
    assert store.verify_audit() > RUNS
    imported = [entry.subject for entry in store.audit(max_results=10_000) if entry.subject.startswith("runs:/")]
    assert len(imported) == len(set(imported)) == RUNS + 2, "a run came twice"


def runs_in(path: Path) -> int:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as connection:
        (count,) = connection.execute("SELECT count(*) FROM runs").fetchone()
    connection.close()
    return int(count)
