"""What tracking costs, beside MLflow in the same run, and whether that meets the targets.

    python benchmarks/tracking.py [--quick]

Latency of `log_metric` and points a second until they are in the database, from one process and from eight, against
MLflow's synchronous and asynchronous logging, directly on SQLite and through its server; what tracking adds to a
Prefect flow and task; memory over ten million points; how much a training loop is slowed down while the store is away.
Under six minutes on two free cores; `--quick` takes fewer points and under two.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = Path(__file__).parent / "tracking_parts"
QUICK = "--quick" in sys.argv
HOME = Path(tempfile.mkdtemp(prefix="prefect-ml-benchmark-"))
ENVIRONMENT = {
    **os.environ,
    "PREFECT_HOME": str(HOME / "prefect"),
    "PREFECT_ML_HOME": str(HOME / "prefect-ml"),
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a dozen processes that log nothing
}


class Loaded(NamedTuple):
    """How fast points were taken: microseconds a call, points a second until all were in the database.

    `cpu` is microseconds of work of the process itself a point, which other load on the machine hardly changes.
    """

    p50: float
    p99: float
    rate: float
    cpu: float


class GaveUpError(Exception):
    """A process that logs has failed."""


def part(name: str, *arguments: object, **environment: str) -> Any:
    """What a part of this benchmark says, as JSON, on its last line."""
    command = [sys.executable, str(PARTS / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT | environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().split("\n")[-1])


def load(how: str, uri: str, points: int, processes: int) -> Loaded:
    """Have so many processes log so many points each, at the same time, for a bounded time."""
    spec = json.dumps({"how": how, "uri": uri, "points": points, "seconds": 4 if QUICK else 8})
    command = [sys.executable, str(PARTS / "load.py"), spec]
    with contextlib.ExitStack() as stack:
        running = []
        errors = stack.enter_context(tempfile.TemporaryFile("w+"))
        for _ in range(processes):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
            running.append(stack.enter_context(subprocess.Popen(command, env=ENVIRONMENT, **pipes)))
            stack.callback(running[-1].kill)  # at once when another one fails
        bound = threading.Timer(60 if QUICK else 120, lambda: [one.kill() for one in running])
        stack.callback(bound.cancel)
        bound.start()
        for one in running:
            while (line := one.stdout.readline()) != "ready\n":
                if not line:
                    raise GaveUpError(_last_line(errors))
        for one in running:
            one.stdin.write("go\n")
            one.stdin.flush()
        said = [one.communicate()[0].strip().split("\n")[-1] for one in running]
        if any(one.returncode for one in running):
            raise GaveUpError(_last_line(errors))
        found = [json.loads(line) for line in said]
    seconds = max(each["ended"] for each in found) - min(each["began"] for each in found)
    median = sorted(found, key=lambda each: each["p50"])[len(found) // 2]
    return Loaded(
        median["p50"],
        max(each["p99"] for each in found),
        sum(each["points"] for each in found) / seconds,
        median["cpu"],
    )


def _last_line(errors: TextIO) -> str:
    errors.seek(0)
    return (errors.read().strip().split("\n")[-1] or "it took too long")[:100]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def mlflow_server() -> Iterator[str]:
    """The URL of MLflow's own server on SQLite."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{HOME / 'mlflow-server.db'}",
        "--artifacts-destination", str(HOME / "mlruns"),
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=ENVIRONMENT, cwd=HOME, **quiet) as server:
        try:
            deadline = time.monotonic() + 90
            while not _answers(f"{url}/health"):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("MLflow's server does not start.")
                time.sleep(0.2)
            yield url
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own http URL
        return True
    return False


def check(title: str, value: float, target: float, *, at_least: bool) -> bool:
    met = value >= target if at_least else value <= target
    bound = "at least" if at_least else "at most"
    print(f"  {'met   ' if met else 'MISSED'} {title}: {value:,.2f} ({bound} {target:,})")
    return met


def points_and_calls() -> list[bool]:
    """One process and eight, ours and theirs."""
    sizes = {"ours": 50_000 if QUICK else 200_000, "sync": 500, "async": 300}
    header = f"{'':<34} {'calls p50':>12} {'p99':>12} {'points/s':>12} {'CPU/point':>12}   until durable"
    met = []
    direct = f"sqlite:///{HOME / 'mlflow.db'}"
    for processes in (1, 8):
        print(f"\n{processes} process{'es' if processes > 1 else ''}\n{header}")
        ours = load("ours", "", sizes["ours"] // (1 if processes == 1 else 4), processes)
        _show("prefect-ml", ours, None)
        found = _peers(direct, "SQLite", sizes, processes, ours)
        with mlflow_server() as server:
            found |= _peers(server, "HTTP", sizes, processes, ours)
        if processes == 1:
            met.append(check("points/s until durable", ours.rate, 50_000, at_least=True))
            for place in ("SQLite", "HTTP"):
                sync, asynchronous = found[place, "sync"], found[place, "async"]
                ratio = ours.rate / asynchronous.rate
                met.append(check(f"times MLflow async in points/s, {place}", ratio, 300, at_least=True))
                ratio = sync.p50 / ours.p50
                met.append(check(f"times MLflow sync in call latency, {place}", ratio, 100, at_least=True))
    return met


def _peers(uri: str, place: str, sizes: dict[str, int], processes: int, ours: Loaded) -> dict[tuple[str, str], Loaded]:
    """What MLflow takes at one place, in both ways."""
    found = {}
    for how in ("sync", "async"):
        try:
            found[place, how] = load(how, uri, sizes[how] // (1 if processes == 1 else 4), processes)
        except GaveUpError as error:
            print(f"{f'MLflow {how}, {place}':<34} its client or server failed under this load: {error}")
        else:
            _show(f"MLflow {how}, {place}", found[place, how], ours)
    return found


def _show(title: str, found: Loaded, ours: Loaded | None) -> None:
    ratios = f"   prefect-ml: {found.p50 / ours.p50:,.0f}x calls, {ours.rate / found.rate:,.0f}x points" if ours else ""
    print(f"{title:<34} {found.p50:>9,.1f} us {found.p99:>9,.1f} us {found.rate:>12,.0f} {found.cpu:>9,.1f} us{ratios}")


def flows_and_tasks() -> None:
    found = part("flows", 8 if QUICK else 20, f"sqlite:///{HOME / 'mlflow-flows.db'}")
    print(f"\n{'Prefect':<34} {'bare':>12} {'tracked':>12} {'with MLflow':>12}")
    for title, kind in (("an empty flow", "empty"), ("a task that logs a metric", "tasks")):
        times = found[kind]
        adds = (
            f"tracking adds {times['ours'] - times['bare']:,.1f} ms, MLflow {times['theirs'] - times['bare']:,.1f} ms"
        )
        print(f"{title:<34} {times['bare']:>9,.1f} ms {times['ours']:>9,.1f} ms {times['theirs']:>9,.1f} ms   {adds}")
    print(f"{'log_metric in a task':<34} p50 {found['call']['p50']:,.1f} us, p99 {found['call']['p99']:,.1f} us")


def memory() -> list[bool]:
    points = 1_000_000 if QUICK else 10_000_000
    start = time.perf_counter()
    found = part("memory", points)
    rate = points / (time.perf_counter() - start)
    print(f"\nMemory over {points:,} points ({rate:,.0f}/s), MB: " + " ".join(f"{each:.0f}" for each in found))
    # The first tenth is what SQLite's cache and the interpreter take once.
    settled = found[len(found) // 10]
    return [check("MB more at the end than after a tenth", found[-1] - settled, 64, at_least=False)]


def slowdown() -> list[bool]:
    print("\nA training loop that logs a metric in each step, while the store is away")
    seconds = 6 if QUICK else 15
    met = []
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(128)
        ports = {"refuses": free_port(), "accepts and never answers": silent.getsockname()[1]}
        for title, port in ports.items():
            away = {"PREFECT_ML_STORE_URL": f"postgresql://me@127.0.0.1:{port}/ml", "PREFECT_ML_FLUSH_TIMEOUT": "1"}
            for step in (10, 1):
                found = part("slowdown", seconds, step, **away)
                parts = f"calls {found['calls']:.2f}, background {found['background']:.2f}"
                name = f"percent slower, steps of {step} ms, PostgreSQL {title} ({parts})"
                if step == 1:  # a thousand points a second: what that costs, without a target
                    print(f"         {name}: {found['percent']:.2f}")
                else:
                    met.append(check(name, found["percent"], 1, at_least=False))
    return met


def main() -> None:
    start = time.perf_counter()
    try:
        met = points_and_calls()
        flows_and_tasks()
        met += slowdown() + memory()
    finally:
        shutil.rmtree(HOME, ignore_errors=True)
    print(f"\n{sum(met)} of {len(met)} targets met, in {time.perf_counter() - start:,.0f} s")
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
