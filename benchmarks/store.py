"""How far the store is from raw SQLite, measured side by side in one process.

    python benchmarks/store.py [--runs 5000] [--points 1000] [--url sqlite:////tmp/bench.db]

PREFECT_ML_SQLITE_SYNCHRONOUS=FULL makes both wait for the disk at each commit. Each line names what is measured, the
store's time, the time of raw sqlite3 for the same, and the ratio.
"""

from __future__ import annotations

import argparse
import math
import random
import sqlite3
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.entities import JournalSpan, Metric, RunBatch, RunEnd, RunStart, RunStatus
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect_ml.store.contract import Store

_THREADS = 8
_KEYS = [f"metric_{number}" for number in range(10)]
_RAW_SCHEMA = """
    CREATE TABLE metrics (
        run INTEGER, key INTEGER, step INTEGER, timestamp INTEGER, value REAL, is_nan INTEGER,
        PRIMARY KEY (run, key, step, timestamp, value, is_nan)
    ) WITHOUT ROWID;
    CREATE TABLE latest (run INTEGER, key INTEGER, step INTEGER, timestamp INTEGER, value REAL,
        PRIMARY KEY (run, key)) WITHOUT ROWID;
    CREATE INDEX by_value ON latest (key, value, run);
"""


def raw_database(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {Settings().sqlite_synchronous}")
    connection.executescript(_RAW_SCHEMA)
    return connection


def median_ms(work: Callable[[int], object], rounds: int) -> float:
    """Median time of a round in milliseconds; the first, which warms caches, does not count."""
    times = []
    for number in range(rounds + 1):
        began = time.perf_counter()
        work(number)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])


def show(what: str, store_ms: float, raw_ms: float) -> None:
    print(f"{what:<52} store {store_ms:9.3f} ms   raw {raw_ms:9.3f} ms   ratio {store_ms / raw_ms:6.2f}")


def measure_batch(store: Store, raw: sqlite3.Connection, size: int) -> None:
    run_id = store.create_run("0").run_id
    values = [random.random() for _ in range(size)]  # noqa: S311  any numbers do

    def through_store(round_: int) -> None:
        base = round_ * size
        points = [Metric(_KEYS[i % 10], value, 1_700_000_000_000, base + i) for i, value in enumerate(values)]
        store.log_batch(run_id, metrics=points)

    def through_sqlite(round_: int) -> None:
        base = round_ * size
        points = [(1, i % 10, base + i, 1_700_000_000_000, value, 0) for i, value in enumerate(values)]
        raw.execute("BEGIN IMMEDIATE")
        raw.executemany("INSERT OR IGNORE INTO metrics VALUES (?, ?, ?, ?, ?, ?)", points)
        raw.executemany("INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?, ?)", [row[:5] for row in points[-10:]])
        raw.execute("COMMIT")

    show(f"one batch of {size} points", median_ms(through_store, 30), median_ms(through_sqlite, 30))


def measure_single_points(store: Store, raw: sqlite3.Connection, count: int) -> None:
    run_id = store.create_run("0").run_id

    def log(step: int) -> None:
        store.log_batch(run_id, metrics=[Metric("loss", 0.5, 1_700_000_000_000, step)])

    def insert(step: int) -> None:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("INSERT OR IGNORE INTO metrics VALUES (2, 1, ?, 1, 0.5, 0)", (step,))
        raw.execute("INSERT OR REPLACE INTO latest VALUES (2, 1, ?, 1, 0.5)", (step,))
        raw.execute("COMMIT")

    raw_ms = median_ms(insert, count)
    show("one point, one thread", median_ms(log, count), raw_ms)
    began = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(log, range(count, count * 2)))
    show(f"one point, {_THREADS} threads (per point)", 1000 * (time.perf_counter() - began) / count, raw_ms)


def fill(store: Store, count: int) -> None:
    """Add runs, each with two params, a tag and ten metrics."""
    chance = random.Random(1)  # noqa: S311  the same runs in every measurement
    journal, size = f"fill-{time.time_ns()}", 500
    for first in range(0, count, size):
        numbers = range(first, min(first + size, count))
        batches = [_filled(number, chance) for number in numbers]
        store.apply_journal(JournalSpan(journal, first, numbers[-1] + 1), batches)


def _filled(number: int, chance: random.Random) -> RunBatch:
    return RunBatch(
        f"run-{time.time_ns()}-{number}",
        start=RunStart("bench", f"run {number}", "me", 1_600_000_000_000 + number, {"kind": f"k{number % 7}"}),
        params={"lr": str(number % 100), "model": f"m{number % 5}"},
        metrics=[Metric(key, chance.random(), 1, 1) for key in _KEYS],
        end=RunEnd(RunStatus.FINISHED, 1_700_000_000_000 + number),
    )


# What is searched for: a filter, an order, and the SQL a person would write for it over the same tables.
_KEY = "(SELECT id FROM metric_keys WHERE name = 'metric_{}')"
_NEWEST = " ORDER BY start_time DESC LIMIT 100"
_MINE = "SELECT id FROM runs WHERE experiment = :e AND lifecycle_stage = 'active'"
_HAS = " AND EXISTS (SELECT 1 FROM {} WHERE run = runs.id AND {})"
SEARCHES: list[tuple[str, str, list[str], str]] = [
    ("newest 100", "", [], _MINE + _NEWEST),
    (
        "rare metric",
        "metrics.metric_0 < 0.001",
        [],
        _MINE + _HAS.format("latest_metrics", f"key = {_KEY.format(0)} AND value < 0.001") + _NEWEST,
    ),
    (
        "common metric",
        "metrics.metric_0 < 0.9",
        [],
        _MINE + _HAS.format("latest_metrics", f"key = {_KEY.format(0)} AND value < 0.9") + _NEWEST,
    ),
    (
        "two params and a tag",
        "params.lr = '7' and params.model = 'm2' and tags.kind LIKE 'k%'",
        [],
        _MINE
        + _HAS.format("params", "key = 'lr' AND value = '7'")
        + _HAS.format("params", "key = 'model' AND value = 'm2'")
        + _HAS.format("tags", "key = 'kind' AND value GLOB 'k*'")
        + _NEWEST,
    ),
    (
        "best 100 by a metric",
        "",
        ["metrics.metric_0 ASC"],
        f"SELECT run FROM latest_metrics JOIN runs ON id = run WHERE key = {_KEY.format(0)} AND experiment = :e"
        " AND lifecycle_stage = 'active' ORDER BY value LIMIT 100",
    ),
    (
        "ordered by a param",
        "",
        ["params.lr DESC"],
        "SELECT id FROM runs JOIN params ON run = id AND key = 'lr' WHERE experiment = :e"
        " AND lifecycle_stage = 'active' ORDER BY value DESC, start_time DESC LIMIT 100",
    ),
]


def measure_search(store: Store, path: Path | None, count: int) -> None:
    began = time.perf_counter()
    fill(store, count)
    print(f"{f'filled with {count} runs':<52} {time.perf_counter() - began:9.1f} s")
    experiment = store.get_experiment_by_name("bench").experiment_id
    raw = sqlite3.connect(path) if path else None
    for what, filter_, order, sql in SEARCHES:
        found = median_ms(lambda _, f=filter_, o=order: store.search_runs([experiment], f, o, max_results=100), 10)
        floor = median_ms(lambda _, q=sql: _raw_search(raw, q, int(experiment)), 10) if raw else math.nan
        show(f"search: {what}", found, floor)


def _raw_search(raw: sqlite3.Connection, sql: str, experiment: int) -> list[list[tuple[object, ...]]]:
    """The rows of a page with their params, tags and metrics."""
    numbers = ",".join(str(number) for (number,) in raw.execute(sql, {"e": experiment}))
    tables = ("runs WHERE id", "params WHERE run", "tags WHERE run", "latest_metrics WHERE run")
    return [raw.execute(f"SELECT * FROM {table} IN ({numbers})").fetchall() for table in tables]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000, help="runs to search among (default 5000)")
    parser.add_argument("--points", type=int, default=1000, help="points of a batch (default 1000)")
    parser.add_argument("--singles", type=int, default=2000, help="single points (default 2000)")
    parser.add_argument("--url", help="store to measure; a fresh SQLite file by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(given.url or f"sqlite:///{folder}/store.db")
        raw = raw_database(Path(folder))
        measure_batch(store, raw, given.points)
        measure_single_points(store, raw, given.singles)
        measure_search(store, None if given.url else Path(folder) / "store.db", given.runs)
        store.close()
        raw.close()


if __name__ == "__main__":
    main()
