"""A training process: logs what a seed says, and writes each call into a ledger before and after it.

python training.py '{"ledger": "/tmp/ledger", "seed": 1}'
"""

from __future__ import annotations

import ctypes
import logging
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

sys.path.append(str(Path(__file__).parent))

import crash
from ledger import REPEATED, Ledger, last_tag

import prefect_ml as ml
from prefect_ml.store import database
from prefect_ml.tracking.run import ActiveRun

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Artifacts wait for the disk, so that there are few of them.
KINDS = ("metric", "metric", "metrics", "params", "tags") * 4 + ("text", "file")
SPEC = {
    "seed": 0,  # of what is logged
    "worker": 0,  # number of this process among those that log to the same run
    "run_id": None,  # the run; None starts one, and ends it
    "calls": 1_000_000,  # calls to make
    "pause": 0.0,  # seconds between two calls
    "kinds": KINDS,  # calls to choose from
    "until": None,  # go on until this file exists
    "powerless": False,  # be bound to the modes of files also as root
    "patience": None,  # seconds that a write waits for another process's, instead of the usual ones
    "clock": [],  # [call, seconds]: set the clock by so much before that call
    "crash": None,  # [moment, count]: kill the process there, see `crash.MOMENTS`
    "environment": {},
}


class _Told(logging.Handler):
    """Writes each warning into the ledger, those from before the run was known as soon as it is."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(logging.WARNING)
        self._ledger, self._run_id = ledger, ""
        self._early: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._early.append(record.getMessage())
        if self._run_id:
            self.about(self._run_id)

    def about(self, run_id: str) -> None:
        self._run_id = run_id
        while self._early:
            self._ledger.write("warned", run_id, self._early.pop(0))


def main(given: Mapping[str, Any]) -> None:
    spec = {**SPEC, **given}
    os.environ |= spec["environment"]
    if spec["crash"]:
        crash.install(*spec["crash"])
    ledger = Ledger(spec["ledger"])
    if spec["powerless"]:
        _give_up_powers()
    if spec["patience"]:
        database._PATIENCE = spec["patience"]
    told = _Told(ledger)
    logging.getLogger("prefect_ml").addHandler(told)
    if spec["run_id"]:
        told.about(spec["run_id"])
        _train(ledger, ActiveRun(spec["run_id"]), spec)
        return
    with ml.start_run("faults") as run:
        ledger.write("started", run.run_id)
        told.about(run.run_id)
        _train(ledger, run, spec)


def _train(ledger: Ledger, run: ActiveRun, spec: Mapping[str, Any]) -> None:
    rng = random.Random(spec["seed"])  # noqa: S311 - the same calls each time
    for number in range(spec["calls"]):
        if spec["until"] and Path(spec["until"]).exists():
            return
        if spec["clock"] and spec["clock"][0] == number:
            _set_clock(spec["clock"][1])
        kind = rng.choice(spec["kinds"])
        what, content, log = _CALLS[kind](run, spec["worker"], number, rng)
        ledger.write("call", run.run_id, spec["worker"], number, what, content)
        log()
        ledger.write("done", run.run_id, spec["worker"], number)
        time.sleep(spec["pause"])


Prepared = tuple[str, dict[str, Any], "Callable[[], None]"]


def _metric(run: ActiveRun, worker: int, number: int, rng: random.Random) -> Prepared:
    return _points(run, worker, number, {"loss": rng.random()})


def _metrics(run: ActiveRun, worker: int, number: int, rng: random.Random) -> Prepared:
    return _points(run, worker, number, {f"m{n}": rng.random() for n in range(rng.randint(2, 5))})


def _points(run: ActiveRun, worker: int, number: int, values: dict[str, float]) -> Prepared:
    step = worker * 10_000_000 + number
    return "metrics", values, lambda: run.log_metrics(values, step=step)


def _params(run: ActiveRun, worker: int, number: int, rng: random.Random) -> Prepared:
    values = {f"p{worker}_{number}_{n}": str(rng.random()) for n in range(rng.randint(2, 5))}
    return "params", values, lambda: run.log_params(values)


def _tags(run: ActiveRun, worker: int, number: int, rng: random.Random) -> Prepared:
    values = {f"t{worker}_{number}_{n}": str(rng.random()) for n in range(rng.randint(2, 4))}
    return "tags", values, lambda: run.set_tags({**values, last_tag(worker): number})


def _note(run: ActiveRun, worker: int, number: int, rng: random.Random) -> Prepared:
    key, line = f"n{worker}_{number}", f"{rng.random():.18f}\n"
    return "notes", {key: line}, lambda: run.set_tag(key, line * REPEATED)


def _text(run: ActiveRun, worker: int, number: int, rng: random.Random) -> Prepared:
    name, line = f"texts/{worker}/{number}.txt", f"{rng.random()}\n"
    return "artifact", {name: line}, lambda: run.log_text(line * REPEATED, name)


def _file(run: ActiveRun, worker: int, number: int, rng: random.Random) -> Prepared:
    folder, line = f"files/{worker}", f"{rng.random()}\n"
    path = Path(os.environ["PREFECT_ML_HOME"]) / f"{run.run_id}-{worker}-{number}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line * REPEATED)
    return "artifact", {f"{folder}/{path.name}": line}, lambda: run.log_artifact(path, folder)


_CALLS: dict[str, Callable[[ActiveRun, int, int, random.Random], Prepared]] = {
    "metric": _metric, "metrics": _metrics, "params": _params, "tags": _tags, "note": _note,
    "text": _text, "file": _file,
}  # fmt: skip


def _give_up_powers() -> None:
    """Drop all capabilities of this thread, and with it of those that it will start (capset(2), version 3)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "The capabilities cannot be dropped.")


def _set_clock(seconds: float) -> None:
    """Let this process see another time, as after a correction of the system's clock."""
    true_ns, true = time.time_ns, time.time
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)
    time.time = lambda: true() + seconds


if __name__ == "__main__":
    main(orjson.loads(sys.argv[1]))
