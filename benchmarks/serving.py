"""Serving one scikit-learn model: prefect-ml, its peers and a bare ASGI application, in one run.

    python benchmarks/serving.py [--seconds 4] [--rounds 3] [--only prefect-ml,mlflow]

The peers are `mlflow models serve`, LitServe, BentoML and MLServer, one process each that predicts, each with an
environment of its own; the bare application parses the same JSON and calls the model's own `predict`. All have the same
fitted model and are loaded by the same generator over keep-alive connections, one after the other, round by round, so
that a busy machine slows all of them. Requests per second and latencies are the medians of the rounds. A start is the
time from the command to the first prediction, with files in the cache; memory is what the server's processes use of
their own and their part of what they share (PSS), after the load.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import pickle
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import psutil
import uvloop
from serving_peers import Server, servers


@dataclass(frozen=True)
class Work:
    name: str
    rows: int
    connections: int


WORK = (
    Work("one row, 1 connection", 1, 1),
    Work("one row, 16 connections", 1, 16),
    Work("1,000 rows, 1 connection", 1000, 1),
)


@dataclass(frozen=True)
class Load:
    """What came of one load: requests per second, and latencies in ms, sorted."""

    rate: float
    latencies: list[float]

    def quantile(self, q: float) -> float:
        return self.latencies[min(int(q * len(self.latencies)), len(self.latencies) - 1)]


class Client(asyncio.Protocol):
    """One keep-alive connection that sends a request as soon as the answer to the one before is whole.

    It does as little as it can: what the generator of the load costs is taken from all servers alike, and hides what
    makes them different.
    """

    def __init__(self, request: bytes, until: float, latencies: list[float]) -> None:
        self._request, self._until, self._latencies = request, until, latencies
        self._missing: int | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._missing is not None:
            self._missing -= len(data)
        elif b"\r\n\r\n" in self._answer:
            head, _, content = self._answer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            self._missing = length - len(content)
        if self._missing != 0:
            return
        self._latencies.append((time.perf_counter() - self._sent) * 1000)
        if not self._answer.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(SystemExit(self._answer.decode()))
        elif time.perf_counter() < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None) if error is None else self.ended.set_exception(error)

    def _send(self) -> None:
        self._answer, self._missing = b"", None
        self._sent = time.perf_counter()
        self._transport.write(self._request)


async def load(server: Server, rows: int, connections: int, seconds: float) -> Load:
    """Send the body over keep-alive connections, one request at a time on each; any answer but 200 ends it."""
    body = server.bodies[rows]
    head = f"POST {server.path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    latencies: list[float] = []
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    clients = [
        (
            await loop.create_connection(
                partial(Client, request, started + seconds, latencies), "127.0.0.1", server.port
            )
        )[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.ended for client in clients))
    return Load(len(latencies) / (time.perf_counter() - started), sorted(latencies))


def make_models(folder: Path) -> dict[int, bytes]:
    """Save one fitted model for all three servers; returns a body for each number of rows."""
    import mlflow.sklearn
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from prefect_ml.models.folder import save_model

    data, target = load_breast_cancer(as_frame=True, return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(data, target)
    save_model(model, folder / "ours", input_example=data.iloc[:3])
    signature = mlflow.models.infer_signature(data, model.predict(data))
    mlflow.sklearn.save_model(model, folder / "theirs", signature=signature, pip_requirements=["mlflow"])
    (folder / "bare.pkl").write_bytes(pickle.dumps(model))
    many = data.sample(1000, replace=True, random_state=0)
    return {
        rows: json.dumps({"dataframe_split": many.iloc[:rows].to_dict(orient="split")}).encode() for rows in (1, 1000)
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def started(server: Server, log: Path) -> Iterator[tuple[psutil.Process, float]]:
    """The server in a session of its own until the block ends; yields it and the seconds until its first prediction."""
    begin = time.perf_counter()
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{server.path}", server.bodies[1], {"Content-Type": "application/json"}
    )
    with log.open("w") as output:
        process = subprocess.Popen(
            server.command,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, **server.env},
            cwd=server.folder,
        )
        try:
            while True:
                with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=30):  # noqa: S310  of this machine
                    break
                if process.poll() is not None or time.perf_counter() - begin > 120:
                    raise SystemExit(f"{server.name} did not start:\n{log.read_text()[-3000:]}")
                time.sleep(0.02)
            yield psutil.Process(process.pid), time.perf_counter() - begin
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)


def memory(process: psutil.Process) -> float:
    """MB that a process and its descendants use."""
    return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True))) / 1e6


def own_predict(folder: Path) -> Load:
    """The model's own `predict` of one row, by the same model fitted without names, which is quickest."""
    from sklearn.base import clone
    from sklearn.datasets import load_breast_cancer

    data, target = load_breast_cancer(return_X_y=True)
    model = clone(pickle.loads((folder / "bare.pkl").read_bytes())).fit(data, target)  # noqa: S301  made above
    times = []
    for _ in range(1000):
        begin = time.perf_counter()
        model.predict(data[:1])
        times.append((time.perf_counter() - begin) * 1000)
    return Load(0.0, sorted(times))


def report(results: dict[tuple[str, str], list[Load]], names: list[str], own: Load) -> None:
    for work in WORK:
        print(f"{work.name}: requests/s (p50, p99 ms), and how many times as many prefect-ml answers")
        rates = {name: statistics.median(run.rate for run in results[name, work.name]) for name in names}
        for name in names:
            p50, p99 = (statistics.median(run.quantile(q) for run in results[name, work.name]) for q in (0.5, 0.99))
            print(f"  {name:12}{rates[name]:>8.0f} ({p50:7.2f}, {p99:7.2f}) {rates['prefect-ml'] / rates[name]:>7.1f}")
    runs = results["prefect-ml", WORK[0].name]
    p50, p99 = (statistics.median(run.quantile(q) for run in runs) - own.quantile(q) for q in (0.5, 0.99))
    print(
        f"over the model's own predict of one row ({own.quantile(0.5):.2f} ms, p99 {own.quantile(0.99):.2f}): "
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="comma-separated servers; all by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        os.environ["PREFECT_ML_HOME"] = str(folder / "home")
        bodies = make_models(folder)
        names = ("prefect-ml", "bare ASGI", "mlflow", "litserve", "bentoml", "mlserver")
        wanted = options.only.split(",") if options.only else names
        ports = {name: free_port() for name in names}
        chosen = [server for server in servers(folder, ports, bodies) if server.name in wanted]
        print(f"load of the machine: {os.getloadavg()[0]:.1f}, on {os.cpu_count()} processors")
        processes: dict[str, psutil.Process] = {}
        starts: dict[str, float] = {}
        for server in chosen:
            with started(server, folder / "first.log"):
                pass  # its files are in the cache now
            processes[server.name], starts[server.name] = stack.enter_context(
                started(server, folder / f"{server.name}.log")
            )
        results: dict[tuple[str, str], list[Load]] = {}
        for server in chosen:
            for rows in bodies:
                uvloop.run(load(server, rows, 1, 0.5))
        for _ in range(options.rounds):
            for work in WORK:
                for server in chosen:
                    run = uvloop.run(load(server, work.rows, work.connections, options.seconds))
                    results.setdefault((server.name, work.name), []).append(run)
        used = {name: memory(process) for name, process in processes.items()}
        print("seconds until the first prediction, and MB; as a part of mlflow's")
        for server in chosen:
            parts = ""
            if "mlflow" in starts:
                parts = f"{starts[server.name] / starts['mlflow']:>7.0%} {used[server.name] / used['mlflow']:>5.0%}"
            print(f"  {server.name:12}{starts[server.name]:>8.1f} {used[server.name]:>8.0f} {parts}")
        report(results, [server.name for server in chosen], own_predict(folder))


if __name__ == "__main__":
    main()
