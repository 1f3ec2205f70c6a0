"""The process in which models are run that shall not end this one; see `apart`, which starts it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import NoReturn

from prefect_ml.models.apart import ANSWER, REQUEST
from prefect_ml.models.flavors.skops_types import import_skops

# Imported before the fork, so that each model's process has them at once; importing them runs no parallel code.
_LIBRARIES = {
    "sklearn": ("pandas", "sklearn.base", "skops.io"),
    "xgboost": ("pandas", "xgboost"),
    "lightgbm": ("pandas", "lightgbm"),
    "catboost": ("pandas", "catboost"),
}
_IDLE = 60.0
_LOOK = 0.01


def main() -> None:
    """Answer requests, each the path of a folder on a line of stdin, until stdin ends or nothing comes for a minute."""
    said = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    _first_to_go()
    with os.fdopen(0, "rb", buffering=0, closefd=False) as asked:
        while select.select([asked], [], [], _IDLE)[0] and (line := asked.readline()):
            folder = Path(json.loads(line))
            if not sys.platform.startswith("linux"):
                answer(folder)
                os.write(said, b"0\n")
                break
            _preload(folder)
            os.write(said, b"%d\n" % _forked(folder, said, null))
    _end()


def answer(folder: Path) -> None:
    """Write the answer to the request in a folder; what the model raises is the answer, too."""
    request = json.loads((folder / REQUEST).read_bytes())
    sys.path[:] = request["path"]
    os.chdir(folder)
    try:
        module, _, function = request["kind"].partition(":")
        found = getattr(importlib.import_module(module), function)(request)
    except BaseException as error:  # noqa: BLE001 - a model under test may raise anything, SystemExit too
        found = {"error": f"{type(error).__name__}: {error}"}
    part = folder / f"{ANSWER}.part"
    part.write_text(json.dumps(found, default=str))
    part.replace(folder / ANSWER)


def _preload(folder: Path) -> None:
    request = json.loads((folder / REQUEST).read_bytes())
    libraries = [library for flavor in request["flavors"] for library in _LIBRARIES.get(flavor, ())]
    for name in (request["kind"].partition(":")[0], *libraries):
        with contextlib.suppress(Exception):  # the model's own process says what is missing
            import_skops() if name == "skops.io" else importlib.import_module(name)


def _forked(folder: Path, said: int, null: int) -> int:
    """Answer in a child; how it ended, as `subprocess` tells it. When the parent goes away, all ends."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(said)
            os.dup2(null, 0)
            answer(folder)
            code = 0
        finally:
            os._exit(code)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if select.select([0], [], [], _LOOK)[0]:
            _end()


def _first_to_go() -> None:
    """Where memory runs out, this process and its children shall be killed before any other."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end() -> NoReturn:
    """End this process, with whatever a model left running."""
    os.killpg(0, signal.SIGKILL)
    raise SystemExit  # a signal may take a moment
