"""Processes that lead a group of their own, so that whatever they started ends with them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_SAID = 64 << 10
_LOOK = 0.02
_USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process ended; it is not reaped, so that its id still names its group."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    return process.returncode is not None or (
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    )


def end_group(process: subprocess.Popen[bytes]) -> int:
    """Kill a process that leads a group, with the group; how it ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def run_until(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, until: float) -> tuple[int, str]:
    """Run a command without input; its return code and the end of what it said. All of it is killed when time is up.

    Raises:
        TimeoutError: it took too long.
    """
    with tempfile.TemporaryFile() as said:
        # It holds the other end of stdin, so a command that reads it learns that this process is gone.
        process = subprocess.Popen(  # noqa: S603 - argument vectors of ours
            argv, stdin=subprocess.PIPE, stdout=said, stderr=said, env=env, cwd=cwd, start_new_session=True
        )
        try:
            while not has_ended(process):
                if time.monotonic() >= until:
                    raise TimeoutError
                time.sleep(_LOOK)
        finally:
            code = end_group(process)
            if process.stdin is not None:
                process.stdin.close()
        said.seek(max(0, said.seek(0, os.SEEK_END) - _SAID))
        return code, without_user_info(said.read().decode("utf-8", "replace")).strip()


def without_user_info(text: str) -> str:
    """A text whose URLs name no user and no password."""
    return _USER_INFO.sub("***@", text)
