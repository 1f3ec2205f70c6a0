"""Running what a model folder holds in a process of its own, so that nothing in it can hang or end this one.

The process is forked from a small server that has imported the model's library already; where forking is no way, the
server answers once. Whatever runs there gets no store, no credentials and no environment but what `_KEPT` names. When
time is up, the server and all that it started are killed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from prefect_ml.models.process_group import end_group, has_ended

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST = "request.json"
ANSWER = "answer.json"
_MAX_ANSWER = 64 << 20
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from prefect_ml.models.answering import main; main()"
# What libraries need to find themselves and their threads; never an address or a credential of ours.
_KEPT = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH", "JAVA_HOME", "SYSTEMROOT", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "PYTHONHASHSEED",
    "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
})  # fmt: skip
_KEPT_PREFIXES = ("LC_", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "CUDA_", "NVIDIA_")


class LostError(Exception):
    """The process gave no answer; the message is a sentence that says why."""


class LateError(LostError):
    """Time was up."""


def run_apart(request: Mapping[str, Any], flavors: list[str], seconds: float, limit: float) -> dict[str, Any]:
    """Have a process answer a request.

    Args:
        request: `kind` names the function that answers it, "module:function"; it is given the request, and what it
            returns or raises is the answer.
        flavors: of the models that it is about, whose libraries are imported before the process is forked.
        seconds: how long it may take.
        limit: what the sentence about lost time names.

    Raises:
        LateError: it took longer.
        LostError: it crashed or was killed, or raised.
    """
    if seconds <= 0:
        raise LateError(_late(limit))
    with tempfile.TemporaryDirectory(prefix="prefect-ml-apart-") as scratch:
        folder = Path(scratch)
        whole = {**request, "path": [os.path.abspath(entry) for entry in sys.path], "flavors": flavors}  # noqa: PTH100 - text in, text out
        (folder / REQUEST).write_text(json.dumps(whole))
        status = _served(folder, time.monotonic() + seconds)
        if status is None:
            raise LateError(_late(limit))
        return _answer(folder / ANSWER, status)


def kept_environment() -> dict[str, str]:
    """The environment of a process that runs a model: what libraries need, and nothing of ours."""
    return {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(_KEPT_PREFIXES)}


def how_it_ended(code: int) -> str:
    """The sentence about a process that ended by itself, by its return code as `subprocess` gives it."""
    if code == -signal.SIGKILL:
        return "the process that ran the model was killed (SIGKILL), most likely because memory ran out"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"the model crashed the process that ran it ({signal.Signals(-code).name})"
    return f"the process that ran the model ended with the code {code} and without an answer"


def _late(limit: float) -> str:
    return f"it took longer than {limit:g} seconds and was stopped; give the gate a longer `timeout`, or a faster model"


def _answer(path: Path, status: int) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_ANSWER + 1)
        answer = json.loads(text) if len(text) <= _MAX_ANSWER else None
    except (OSError, ValueError, RecursionError):
        answer = None
    if status != 0 or not isinstance(answer, dict):
        raise LostError(how_it_ended(status))
    if "error" in answer:
        raise LostError(str(answer["error"]))
    return answer


def _served(folder: Path, until: float) -> int | None:
    """How the process that answered ended; None when time was up."""
    while True:
        server, is_new = _take()
        try:
            status = server.serve(folder, until)
        except BaseException:
            server.close()
            raise
        if status is not None and server.alive:
            _put_back(server)
            return status
        ended = server.close()
        if server.alive:
            return None
        # One that was waiting may have ended by itself at this very moment.
        if is_new or (folder / ANSWER).exists():
            return ended


class _Server:
    """A server of this process; it serves one request at a time, and ends when this process does."""

    def __init__(self) -> None:
        path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - text in, text out
        self._process = subprocess.Popen(  # noqa: S603 - this Python, and a text of ours
            [sys.executable, "-c", _BOOT, json.dumps(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept_environment(),
            start_new_session=True,
        )
        self.alive = True

    def serve(self, folder: Path, until: float) -> int | None:
        """How the process that answered ended, as a return code; None when time was up, or the server is gone."""
        try:
            self._stdin.write(json.dumps(str(folder)).encode() + b"\n")
            self._stdin.flush()
        except BrokenPipeError:
            self.alive = False
            return None
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, until - time.monotonic())):
                return None
        line = self._stdout.readline()
        self.alive = bool(line)
        return int(line) if line else None

    def close(self) -> int:
        """Kill it and all that it started; how it ended."""
        code = end_group(self._process)
        for stream in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                stream.close()
        return code

    def forget(self) -> None:
        """Let go of it in a forked process: it is the parent's."""
        for stream in (self._stdin, self._stdout):
            stream.close()
        self._process.returncode = 0

    @property
    def gone(self) -> bool:
        return has_ended(self._process)

    @property
    def _stdin(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdin)

    @property
    def _stdout(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdout)


_idle: list[_Server] = []
_lock = threading.Lock()


def _take() -> tuple[_Server, bool]:
    """A server, and whether it is a new one."""
    with _lock:
        while _idle:
            server = _idle.pop()
            if not server.gone:
                return server, False
            server.close()
    return _Server(), True


def _put_back(server: _Server) -> None:
    with _lock:
        _idle.append(server)


def _close_idle() -> None:
    with _lock:
        while _idle:
            _idle.pop().close()


def _forget() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may hold it for ever in the child
    _lock = threading.Lock()
    for server in _idle:
        server.forget()
    _idle.clear()


atexit.register(_close_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
