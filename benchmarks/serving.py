"""Serving one scikit-learn model: prefect-ml, `mlflow models serve` and a bare ASGI application, in one run.

    python benchmarks/serving.py [--seconds 4]

The bare application parses the same JSON and calls the model's own `predict`: the floor for a server in Python.
All three are loaded by the same generator over keep-alive connections, one after the other, round by round, so that
a busy machine slows all of them. Requests per second are the median of the rounds.
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
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BARE = """
import pickle, sys
import orjson, pandas as pd, uvicorn

model = pickle.load(open(sys.argv[1], "rb"))


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer = b""
    if body:
        split = orjson.loads(body)["dataframe_split"]
        frame = pd.DataFrame(split["data"], columns=split["columns"])
        answer = orjson.dumps({"predictions": model.predict(frame)}, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


uvicorn.run(app, port=int(sys.argv[2]), log_level="error", lifespan="off")
"""
OURS = "import sys; from prefect_ml.serving import run_server; run_server(sys.argv[1], port=int(sys.argv[2]))"


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


async def load(port: int, body: bytes, connections: int, seconds: float) -> Load:
    """Send the body over keep-alive connections, one request at a time on each; any answer but 200 ends it."""
    head = f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    latencies: list[float] = []
    started = time.perf_counter()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        while (sent := time.perf_counter()) - started < seconds:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            content = await reader.readexactly(length)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"{answer.decode()}{content.decode()}")
            latencies.append((time.perf_counter() - sent) * 1000)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))
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
def started(name: str, command: list[str], port: int, log: Path) -> Iterator[float]:
    """The server as a process group of its own, until the block ends; yields the seconds until its first answer."""
    begin = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            while True:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                    break
                if process.poll() is not None or time.perf_counter() - begin > 60:
                    raise SystemExit(f"{name} did not start:\n{log.read_text()}")
                time.sleep(0.05)
            yield time.perf_counter() - begin
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)


def resident(port: int) -> float:
    """MB of memory that the processes listening on a port use, by /proc."""
    total = 0
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(fd.readlink()) in inodes for fd in (process / "fd").iterdir()):
                pages = int((process / "statm").read_text().split()[1])
                total += pages * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6


def report(results: dict[tuple[str, str], list[Load]], servers: list[str]) -> None:
    print(f"{'requests/s (p50, p99 ms)':28}" + "".join(f"{name:>26}" for name in servers))
    for work in WORK:
        rates = {}
        line = f"{work.name:28}"
        for name in servers:
            loads = results[name, work.name]
            rates[name] = statistics.median(run.rate for run in loads)
            p50, p99 = (statistics.median(run.quantile(q) for run in loads) for q in (0.5, 0.99))
            line += f"{rates[name]:>11.0f} ({p50:5.2f}, {p99:6.2f})"
        print(line)
        print(
            f"{'':28}prefect-ml is {rates['prefect-ml'] / rates['mlflow']:.1f} times mlflow, "
            f"{rates['prefect-ml'] / rates['bare ASGI']:.0%} of bare ASGI"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        os.environ["PREFECT_ML_HOME"] = str(folder / "home")
        # mlflow starts uvicorn by its name.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        bodies = make_models(folder)
        python, mlflow = sys.executable, str(Path(sys.executable).with_name("mlflow"))
        ports = {"prefect-ml": free_port(), "bare ASGI": free_port(), "mlflow": free_port()}
        commands = {
            "prefect-ml": [python, "-c", OURS, str(folder / "ours"), str(ports["prefect-ml"])],
            "bare ASGI": [python, "-c", BARE, str(folder / "bare.pkl"), str(ports["bare ASGI"])],
            "mlflow": [
                *(mlflow, "models", "serve", "--env-manager", "local"),
                *("-m", str(folder / "theirs"), "-p", str(ports["mlflow"])),
            ],
        }
        results: dict[tuple[str, str], list[Load]] = {}
        for server, command in commands.items():
            took = stack.enter_context(started(server, command, ports[server], folder / f"{server}.log"))
            print(f"{server}: first answer after {took:.1f} s, {resident(ports[server]):.0f} MB")
        for body in bodies.values():
            for port in ports.values():
                asyncio.run(load(port, body, 1, 0.5))
        for _ in range(options.rounds):
            for work in WORK:
                for server, port in ports.items():
                    run = asyncio.run(load(port, bodies[work.rows], work.connections, options.seconds))
                    results.setdefault((server, work.name), []).append(run)
        report(results, list(ports))


if __name__ == "__main__":
    main()
