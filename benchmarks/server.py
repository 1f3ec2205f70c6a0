"""The tracking server beside MLflow's, over the whole protocol in one run, and whether that meets the targets.

    python benchmarks/server.py [--quick]

Single points from one connection and from eight processes, batches, bytes of database a point, searches over 100,000
runs, long curves, large files, start and memory. MLflow's server runs as it starts by default and with one worker; the
floors are a bare ASGI application on uvicorn and raw SQLite. The client is the same few lines over a socket for all.
About fifteen minutes on two free cores; `--quick` takes smaller sizes and about four.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

PARTS = Path(__file__).parent / "server_parts"
sys.path.insert(0, str(PARTS))
from wire import FailedError, Wire  # noqa: E402  found beside this file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUICK = "--quick" in sys.argv
SECONDS = 3 if QUICK else 8
RUNS = 5_000 if QUICK else 100_000
CURVE = 100_000 if QUICK else 1_000_000
FILE = (256 if QUICK else 1024) << 20
HOME = Path(tempfile.mkdtemp(prefix="prefect-ml-benchmark-"))
ENVIRONMENT = {
    **os.environ,
    "PREFECT_HOME": str(HOME / "prefect"),
    "PREFECT_ML_HOME": str(HOME / "prefect-ml"),
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a dozen processes that log nothing
}
API = "/api/2.0/mlflow"
met: list[bool] = []


class Server(NamedTuple):
    """A server that runs.

    Attributes:
        name: for the table.
        port: where it listens.
        process: its first process.
        database: its SQLite file.
        started: seconds until it answered.
    """

    name: str
    port: int
    process: subprocess.Popen[bytes]
    database: Path
    started: float

    def memory(self) -> list[float]:
        """MiB that each of its processes has for itself or shares."""
        return [_resident(pid) for pid in _family(self.process.pid)]


@contextlib.contextmanager
def running(name: str, command: list[str], folder: Path) -> Iterator[Server]:
    """A server by its command, in which PORT stands for a free port, until it is stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    began = time.perf_counter()
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [part.replace("PORT", str(port)) for part in command], env=ENVIRONMENT, cwd=folder, stdout=log, stderr=log
        ) as process,
    ):
        try:
            while not _answers(port):
                if process.poll() is not None or time.perf_counter() - began > 120:
                    raise RuntimeError(f"{name} does not start: {(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.02)
            yield Server(name, port, process, folder / "server.db", time.perf_counter() - began)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def ours(folder: str, workers: int = 1) -> contextlib.AbstractContextManager[Server]:
    home = HOME / folder
    command = [sys.executable, "-c", "from prefect_ml.cli import main; main()", "server", "--port", "PORT"]
    command += ["--store", f"sqlite:///{home / 'server.db'}", "--artifacts", str(home / "artifacts")]
    return running("prefect-ml", [*command, "--workers", str(workers)], home)


def mlflow(folder: str, workers: int | None = None) -> contextlib.AbstractContextManager[Server]:
    home = HOME / folder
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", "PORT"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{home / 'server.db'}",
        "--artifacts-destination",
        str(home / "files"),
    ]
    command += [] if workers is None else ["--workers", str(workers)]
    return running("MLflow, default" if workers is None else f"MLflow, {workers} worker", command, home)


def floor() -> contextlib.AbstractContextManager[Server]:
    home = HOME / "floor"
    return running("bare ASGI", [sys.executable, str(PARTS / "floor.py"), "PORT", str(home)], home)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError, FailedError), Wire(port, 5) as wire:
        wire.get("/health")
        return True
    return False


def _family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += _family(int(child))
    return found


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def check(title: str, value: float, target: float, *, at_least: bool = True) -> None:
    good = value >= target if at_least else value <= target
    bound = "at least" if at_least else "at most"
    print(f"  {'met   ' if good else 'MISSED'} {title}: {value:,.2f} ({bound} {target:,.2f})", flush=True)
    met.append(good)


def new_run(server: Server) -> str:
    with Wire(server.port) as wire:
        made = json.loads(wire.post(f"{API}/runs/create", {"experiment_id": "0", "start_time": 1}))
    return str(made["run"]["info"]["run_id"])


def for_a_time(work: Callable[[int], object]) -> float:
    """How often a second something can be done."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() < began + SECONDS:
        work(count)
        count += 1
    return count / (time.perf_counter() - began)


def median_ms(work: Callable[[], object], most: int = 15) -> float:
    """Median time in milliseconds of up to so many turns, after one that warms up; bounded in time."""
    work()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < most and (not times or time.perf_counter() - began < 2 * SECONDS):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def point(step: int, key: str = "loss") -> dict[str, Any]:
    return {"key": key, "value": 0.5, "timestamp": step, "step": step}


def single_points(server: Server) -> float:
    run_id = new_run(server)
    with Wire(server.port) as wire:
        return for_a_time(lambda n: wire.post(f"{API}/runs/log-metric", {"run_id": run_id, **point(n)}))


def eight_processes(server: Server) -> float:
    spec = {"port": server.port, "run_id": new_run(server), "seconds": SECONDS, "count": 10**6}
    command = [sys.executable, str(PARTS / "load.py"), json.dumps(spec)]
    with contextlib.ExitStack() as stack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        loads = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(8)]
        for load in loads:
            load.stdout.readline()
        for load in loads:
            load.stdin.write("go\n")
            load.stdin.flush()
        found = [json.loads(load.communicate(timeout=120)[0]) for load in loads]
    seconds = max(each["ended"] for each in found) - min(each["began"] for each in found)
    return float(sum(each["points"] for each in found) / seconds)


def batches(server: Server) -> float:
    """Points a second in batches of a thousand."""
    run_id = new_run(server)
    with Wire(server.port) as wire:

        def send(n: int) -> None:
            metrics = [point(n * 1000 + i, "batched") for i in range(1000)]
            wire.post(f"{API}/runs/log-batch", {"run_id": run_id, "metrics": metrics})

        return 1000 * for_a_time(send)


def params(server: Server) -> float:
    """Batches of a hundred params a second, each for a run of its own."""
    with Wire(server.port) as wire:
        pairs = [{"key": f"p{n}", "value": str(n)} for n in range(100)]
        made = [new_run(server) for _ in range(30)]
        began = time.perf_counter()
        for run_id in made:
            wire.post(f"{API}/runs/log-batch", {"run_id": run_id, "params": pairs})
        return len(made) / (time.perf_counter() - began)


def bytes_of_a_point(server: Server) -> float:
    """Bytes of database that a point of a curve takes."""
    run_id, count = new_run(server), 20
    before = _size(server.database)
    with Wire(server.port) as wire:
        for part in range(count):
            metrics = [point(1_700_000_000_000 + part * 1000 + i, "sized") for i in range(1000)]
            wire.post(f"{API}/runs/log-batch", {"run_id": run_id, "metrics": metrics})
    return (_size(server.database) - before) / (1000 * count)


def _size(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (pages,), (size,) = (database.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "page_size"))
    return int(pages * size)


def raw_sqlite() -> float:
    """Points a second that SQLite takes in batches of a thousand, with the index of a curve."""
    database = sqlite3.connect(HOME / "raw.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(
        "CREATE TABLE metrics (run, key, step, timestamp, value, is_nan, PRIMARY KEY (run, key, step, timestamp))"
        " WITHOUT ROWID"
    )

    def insert(n: int) -> None:
        database.execute("BEGIN IMMEDIATE")
        rows = [(1, 1, n * 1000 + i, i, 0.5, 0) for i in range(1000)]
        database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
        database.execute("COMMIT")

    return 1000 * for_a_time(insert)


def writes() -> None:
    """Single points, batches, params, bytes."""
    print(
        f"{'':<18} {'single/s':>10} {'8 processes':>12} {'in batches':>12} {'params/s':>10} {'bytes':>8} {'start s':>8}"
    )
    found: dict[str, dict[str, float]] = {}
    for server_of in (lambda: ours("ours"), lambda: mlflow("mlflow"), lambda: mlflow("mlflow-one", 1)):
        with server_of() as server:
            memory = server.memory()
            row = {
                "single": single_points(server),
                "eight": eight_processes(server),
                "batches": batches(server),
                "params": params(server),
                "bytes": bytes_of_a_point(server),
                "start": server.started,
                "memory": max(memory),
            }
        found[server.name] = row
        print(
            f"{server.name:<18} {row['single']:>10,.0f} {row['eight']:>12,.0f} {row['batches']:>12,.0f} "
            f"{row['params']:>10,.0f} {row['bytes']:>8,.1f} {row['start']:>8.1f}   "
            f"{len(memory)} processes, {sum(memory):,.0f} MiB",
            flush=True,
        )
    with floor() as bare, Wire(bare.port) as wire:
        asgi = for_a_time(lambda n: wire.post("/", {"run_id": "0" * 32, **point(n)}))
    raw = raw_sqlite()
    print(f"{'bare ASGI':<18} {asgi:>10,.0f}\n{'raw SQLite':<18} {'':>10} {'':>12} {raw:>12,.0f}")
    mine, default, one = found["prefect-ml"], found["MLflow, default"], found["MLflow, 1 worker"]
    check("times MLflow, single points", mine["single"] / default["single"], 60)
    check("times MLflow with one worker, single points", mine["single"] / one["single"], 15)
    check("of the bare ASGI application, single points", mine["single"] / asgi, 0.4)
    check("times MLflow, eight processes", mine["eight"] / default["eight"], 25)
    check("times MLflow, batches", mine["batches"] / default["batches"], 25)
    check("times MLflow with one worker, batches", mine["batches"] / one["batches"], 15)
    check("of raw SQLite, batches", mine["batches"] / raw, 0.25)
    check("bytes of database a point", mine["bytes"], 40, at_least=False)
    check("of MLflow's bytes a point", mine["bytes"] / default["bytes"], 1 / 6, at_least=False)
    check("seconds until ready", mine["start"], 2, at_least=False)
    check("MiB of a process at rest", mine["memory"], 150, at_least=False)


def search(server: Server, experiment: str, **asked: Any) -> dict[str, Any]:
    with Wire(server.port) as wire:
        body = {"experiment_ids": [experiment], "max_results": 100, **asked}
        return json.loads(wire.post(f"{API}/runs/search", body))  # type: ignore[no-any-return]


def to_the_end(server: Server, experiment: str) -> float:
    """Milliseconds of a page of a thousand, over at most ten pages."""
    token, pages, began = "", 0, time.perf_counter()
    while pages < 10:
        page = search(server, experiment, max_results=1000, page_token=token)
        token, pages = page.get("next_page_token", ""), pages + 1
        if not token:
            break
    return 1000 * (time.perf_counter() - began) / pages


def reads() -> None:
    """Searches among many runs, and a long curve."""
    with ours("ours-many") as server:
        path = server.database
    fill("ours", f"sqlite:///{path}")
    with mlflow("mlflow-many", 1) as server:
        path = server.database
    fill("mlflow", str(path))
    found: dict[str, dict[str, float]] = {}
    for server_of in (lambda: ours("ours-many"), lambda: mlflow("mlflow-many")):
        with server_of() as server:
            found[server.name] = read_one(server)
    print(f"\n{f'{RUNS:,} runs, a curve of {CURVE:,} points':<46} {'prefect-ml':>12} {'MLflow':>12}")
    mine, theirs = found.values()
    for what in mine:
        print(f"{what:<46} {mine[what]:>9,.1f} ms {theirs[what]:>9,.1f} ms   {theirs[what] / mine[what]:,.0f}x")
    for what in mine:
        check(f"times MLflow, {what}", theirs[what] / mine[what], 10)
    for what in list(mine)[:2]:
        check(f"ms, {what}", mine[what], 30, at_least=False)
    check("ms, 1,000 points of a long curve", mine["1,000 points sampled from the curve"], 50, at_least=False)


def fill(what: str, place: str) -> None:
    began = time.perf_counter()
    command = [sys.executable, str(PARTS / "fill.py"), what, place, str(RUNS), str(CURVE)]
    subprocess.run(command, env=ENVIRONMENT, check=True)
    print(f"filled {what} with {RUNS:,} runs in {time.perf_counter() - began:,.0f} s", flush=True)


def read_one(server: Server) -> dict[str, float]:
    with Wire(server.port) as wire:
        named = json.loads(wire.get(f"{API}/experiments/get-by-name?experiment_name=many"))
    experiment = named["experiment"]["experiment_id"]
    first = f"{0:032x}"

    def curve() -> None:
        token = ""
        with Wire(server.port) as wire:
            while True:
                asked = {"run_id": first, "metric_key": "long", "max_results": 25_000, "page_token": token}
                page = json.loads(wire.get(f"{API}/metrics/get-history?{urlencode(asked)}"))
                if not (token := page.get("next_page_token", "")):
                    return

    def sampled() -> None:
        asked = {"run_ids": first, "metric_key": "long", "max_results": 1000}
        with Wire(server.port) as wire:
            wire.get(f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?{urlencode(asked)}")

    return {
        "newest 100": median_ms(lambda: search(server, experiment)),
        "a metric and a param, ordered by a metric": median_ms(
            lambda: search(
                server,
                experiment,
                filter="metrics.m3 > 0.9 and params.p2 = 'v7'",
                order_by=["metrics.m1 DESC"],
            )
        ),
        "tags.t1 LIKE '%x%'": median_ms(lambda: search(server, experiment, filter="tags.t1 LIKE '%x%'")),
        "a page of 1,000, paging on": to_the_end(server, experiment),
        "all points of the curve": median_ms(curve, 1),
        "1,000 points sampled from the curve": median_ms(sampled),
    }


def files() -> None:
    """A large file up and down."""
    rates: dict[str, tuple[float, float]] = {}
    with floor() as server:
        rates["raw HTTP"] = up_and_down(server, "/file", "/file")
    with ours("ours-files") as server:
        before = max(server.memory())
        path = f"/api/2.0/mlflow-artifacts/artifacts/0/{new_run(server)}/artifacts/large.bin"
        rates["prefect-ml"] = up_and_down(server, path, path)
        grown = max(server.memory()) - before
    print(f"\n{f'a file of {FILE >> 20:,} MiB':<18} {'up MiB/s':>10} {'down MiB/s':>12}")
    for name, (up, down) in rates.items():
        print(f"{name:<18} {up:>10,.0f} {down:>12,.0f}")
    check("of a raw HTTP stream, up", rates["prefect-ml"][0] / rates["raw HTTP"][0], 0.8)
    check("of a raw HTTP stream, down", rates["prefect-ml"][1] / rates["raw HTTP"][1], 0.8)
    check("MiB that the server grows by", grown, 50, at_least=False)


def up_and_down(server: Server, put: str, get: str) -> tuple[float, float]:
    """MiB a second, the best of three each."""
    with Wire(server.port, 300) as wire:
        ups = [_rate(lambda: wire.put_zeros(put, FILE)) for _ in range(3)]
        downs = [_rate(lambda: wire.drain(get)) for _ in range(3)]
    return max(ups), max(downs)


def _rate(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (FILE >> 20) / (time.perf_counter() - start)


def main() -> None:
    start = time.perf_counter()
    asked = [part for part in (writes, reads, files) if part.__name__ in sys.argv] or [writes, reads, files]
    try:
        for part in asked:
            part()
    finally:
        shutil.rmtree(HOME, ignore_errors=True)
    print(f"\n{sum(met)} of {len(met)} targets met, in {time.perf_counter() - start:,.0f} s")
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
