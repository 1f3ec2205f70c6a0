"""A hundred thousand runs in both databases, written past the servers: MLflow's own way would take hours.

python fill.py ours sqlite:////tmp/ours.db 100000
python fill.py mlflow /tmp/mlflow.db 100000
"""

from __future__ import annotations

import random
import sqlite3
import sys
import time
from typing import NamedTuple

from prefect_ml.entities import JournalSpan, Metric, RunBatch, RunEnd, RunStart, RunStatus
from prefect_ml.store import open_store

KEYS = 10
TAGS = 5
EXPERIMENT = "many"
_PART = 500


class Made(NamedTuple):
    """One run, the same in both databases."""

    number: int
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]

    @property
    def run_id(self) -> str:
        return f"{self.number:032x}"

    @property
    def start(self) -> int:
        return 1_600_000_000_000 + self.number


def made(count: int) -> list[Made]:
    chance = random.Random(1)  # noqa: S311  the same runs in both
    return [
        Made(
            number,
            {f"p{n}": f"v{chance.randrange(100)}" for n in range(KEYS)},
            {f"m{n}": chance.random() for n in range(KEYS)},
            {f"t{n}": chance.choice(["axb", "cd", "ef"]) for n in range(TAGS)},
        )
        for number in range(count)
    ]


def fill_ours(url: str, count: int) -> None:
    store = open_store(url)
    runs, journal = made(count), f"fill-{time.time_ns()}"
    for first in range(0, count, _PART):
        part = runs[first : first + _PART]
        batches = [
            RunBatch(
                run.run_id,
                start=RunStart(EXPERIMENT, f"run {run.number}", "me", run.start, run.tags),
                params=run.params,
                metrics=[Metric(key, value, run.start, 0) for key, value in run.metrics.items()],
                end=RunEnd(RunStatus.FINISHED, run.start + 1),
            )
            for run in part
        ]
        store.apply_journal(JournalSpan(journal, first, first + len(part)), batches)
    store.close()


def fill_mlflow(path: str, count: int) -> None:
    """Fill a database that MLflow's server has made."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous = OFF")
    (experiment,) = database.execute("SELECT max(experiment_id) + 1 FROM experiments").fetchone()
    database.execute(
        "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time,"
        " last_update_time) VALUES (?, ?, ?, 'active', 1, 1)",
        (experiment, EXPERIMENT, f"mlflow-artifacts:/{experiment}"),
    )
    for run in made(count):
        database.execute(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
            " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
            " VALUES (?, ?, 'UNKNOWN', '', '', 'me', 'FINISHED', ?, ?, '', 'active', ?, ?)",
            (run.run_id, f"run {run.number}", run.start, run.start + 1, f"mlflow-artifacts:/{run.run_id}", experiment),
        )
        database.executemany(
            "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
            [(*each, run.run_id) for each in run.params.items()],
        )
        tags = [*run.tags.items(), ("mlflow.runName", f"run {run.number}")]
        database.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", [(*t, run.run_id) for t in tags]
        )
        points = [(key, value, run.start, run.run_id, 0, 0) for key, value in run.metrics.items()]
        for table in ("metrics", "latest_metrics"):
            database.executemany(
                f"INSERT INTO {table} (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)", points
            )
    database.commit()
    database.close()


def curve_mlflow(path: str, run_id: str, count: int) -> None:
    """A long curve in MLflow's database."""
    database = sqlite3.connect(path)
    database.executemany(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('long', ?, ?, ?, ?, 0)",
        ((n * 0.5, n, run_id, n) for n in range(count)),
    )
    database.execute(
        "INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('long', 1, 1, ?, ?, 0)",
        (run_id, count),
    )
    database.commit()
    database.close()


def curve_ours(url: str, run_id: str, count: int) -> None:
    store = open_store(url)
    for first in range(0, count, 10_000):
        points = [Metric("long", n * 0.5, n, n) for n in range(first, min(first + 10_000, count))]
        store.log_batch(run_id, metrics=points)
    store.close()


if __name__ == "__main__":
    what, place, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    {"ours": fill_ours, "mlflow": fill_mlflow}[what](place, size)
    if len(sys.argv) > 4:
        {"ours": curve_ours, "mlflow": curve_mlflow}[what](place, f"{0:032x}", int(sys.argv[4]))
