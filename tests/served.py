"""A real tracking server, started by the command and stopped by its handle."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND = Path(sys.executable).with_name("prefect-ml")


class TrackingServer:
    """`prefect-ml server` on a free port of loopback; `with` starts and stops it.

    Args:
        folder: of its SQLite store, its artifacts and its log.
        environment: variables besides this process's.
        arguments: of the command, besides port, store and artifacts.
        store: its URL; a SQLite file in the folder by default.
        port: 0 takes a free one.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *arguments: str,
        store: str | None = None,
        port: int = 0,
    ) -> None:
        self.folder = folder
        self.store = store or f"sqlite:///{folder / 'server.db'}"
        self.artifacts = folder / "artifacts"
        self.url = ""
        self._port = port
        self._arguments = arguments
        self._environment = {**os.environ, "PREFECT_ML_HOME": str(folder / "server-home"), **(environment or {})}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()
        self._close()

    def start(self) -> None:
        """Start it, and return when it serves; after a stop, on the port that it had."""
        command = [COMMAND, "server", "--port", str(self._port), "--store", self.store]
        command += ["--artifacts", str(self.artifacts), *self._arguments]
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.url:
            self._close()  # of the one before
        self.process = self._begun(command)
        line = self._first_line()
        if not line:
            self.process.kill()
            self.process.wait(10)
            self._close()
            raise AssertionError(f"The server did not start:\n{self.log()}")
        self.url = line.split()[-1]
        self._port = int(self.url.rpartition(":")[2])

    def stop(self) -> int:
        """Have it drain and end; its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it without a word, as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def log(self) -> str:
        """What it wrote to its standard error."""
        return (self.folder / "server.log").read_text()

    def _close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _begun(self, command: list[str | Path]) -> subprocess.Popen[str]:
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=self._environment,
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def _first_line(self, seconds: float = 60) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                return self.process.stdout.readline()
        return ""
