"""Swapping a served model under load: how long until the new version answers, and how many requests fail.

    python benchmarks/serving_swap.py [--rate 500] [--connections 8] [--swaps 6] [--store URL]

One `prefect-ml serve models:/swap@champion` with its default settings is asked `--rate` times a second over kept
connections; a request has a time that it is due at, and its latency counts from then, so that a server that stalls
hides nothing. Meanwhile the alias moves `--swaps` times; what is timed is from the commit of the move until the first
answer of the new version, and until the last one of the old.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from prefect_ml.models.folder import save_model
from prefect_ml.registry.register import register_model
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store

COLUMNS = [f"c{n}" for n in range(10)]
URI = "models:/swap@champion"


@dataclass
class Load:
    """What the clients saw: when each answer came, by which version; seconds from when it was due; and failures."""

    answers: list[tuple[float, str]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--swaps", type=int, default=6)
    parser.add_argument("--store", help="URL of the store; a SQLite file of its own by default")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PREFECT_ML_HOME"] = folder
        url = chosen.store or f"sqlite:///{folder}/store.db"
        os.environ["PREFECT_ML_STORE_URL"] = url
        with contextlib.closing(open_store(url)) as store:
            body = registered(store, Path(folder))
            with serving(Path(folder)) as (address, pid):
                asyncio.run(measure(store, address, pid, body, chosen))


def registered(store: Store, folder: Path) -> bytes:
    """Two versions of a linear model, the alias on the first; the body of a request of one row."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(500, len(COLUMNS))), columns=COLUMNS)
    for number in (1, 2):
        model = Ridge().fit(frame, frame.sum(axis=1) * number)
        save_model(model, folder / f"model-{number}", input_example=frame[:3])
        register_model(store, str(folder / f"model-{number}"), "swap")
    store.set_alias("swap", "champion", 1)
    return json.dumps({"dataframe_split": frame[:1].to_dict(orient="split")}).encode()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int]]:
    command = [str(Path(sys.executable).with_name("prefect-ml")), "serve", URI, "--port", "0"]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            raise SystemExit((folder / "serve.log").read_text())
        yield line.split(" at ")[1].strip(), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


async def measure(store: Store, address: str, pid: int, body: bytes, chosen: argparse.Namespace) -> None:
    load, stop = Load(), asyncio.Event()
    began = time.perf_counter()
    pause = chosen.connections / chosen.rate
    tasks = [
        asyncio.create_task(_ask(address, body, load, stop, due=began + n / chosen.rate, pause=pause))
        for n in range(chosen.connections)
    ]
    await asyncio.sleep(2)
    quiet = len(load.latencies)
    before = _megabytes(pid)
    swaps = []
    for number in range(chosen.swaps):
        version = 2 - number % 2
        await asyncio.to_thread(store.set_alias, "swap", "champion", version)
        swaps.append((time.perf_counter(), str(version)))
        await asyncio.sleep(4)
    after = _megabytes(pid)
    stop.set()
    await asyncio.gather(*tasks)
    _tell(load, swaps, time.perf_counter() - began, quiet, (before, after))


async def _ask(address: str, body: bytes, load: Load, stop: asyncio.Event, *, due: float, pause: float) -> None:
    host, _, port = address.removeprefix("http://").rpartition(":")
    head = f"POST /invocations HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    reader, writer = await asyncio.open_connection(host, int(port))
    while not stop.is_set():
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        try:
            status, version = await _exchange(reader, writer, request)
        except (OSError, asyncio.IncompleteReadError) as error:
            load.failures.append(f"{type(error).__name__}: {error}")
            reader, writer = await asyncio.open_connection(host, int(port))
        else:
            if status == b"200":
                now = time.perf_counter()
                load.answers.append((now, version))
                load.latencies.append(now - due)
            else:
                load.failures.append(status.decode())
        due += pause
    writer.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[bytes, str]:
    """The status of the answer, and the version that it names."""
    writer.write(request)
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if line)
    await reader.readexactly(int(headers[b"content-length"]))
    return lines[0].split()[1], headers.get(b"x-model-version", b"").decode()


def _tell(load: Load, swaps: list[tuple[float, str]], seconds: float, quiet: int, memory: tuple[float, float]) -> None:
    print(
        f"{len(load.answers)} answers in {seconds:.1f} s ({len(load.answers) / seconds:.0f} a second), "
        f"{len(load.failures)} failed: {sorted(set(load.failures))[:3]}"
    )
    first = [min(at for at, seen in load.answers if at > moved and seen == to) - moved for moved, to in swaps]
    ends = [*(moved for moved, _ in swaps[1:]), float("inf")]
    last = [
        max((at - moved for at, seen in load.answers if moved < at < end and seen != to), default=0.0)
        for (moved, to), end in zip(swaps, ends, strict=True)
    ]
    print(
        f"alias moved -> first answer of the new version: median {statistics.median(first):.2f} s, "
        f"most {max(first):.2f} s; last of the old: most {max(last):.2f} s"
    )
    for name, times in (("before the first swap", load.latencies[:quiet]), ("while swapping", load.latencies[quiet:])):
        found = [1e3 * each for each in sorted(times)]
        middle, high = found[len(found) // 2], found[int(len(found) * 0.99)]
        print(f"latency {name}: p50 {middle:.1f} ms, p99 {high:.1f} ms, most {found[-1]:.0f} ms")
    print(f"memory of the process: {memory[0]:.0f} MB before, {memory[1]:.0f} MB after the last swap")


def _megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
