"""A real Prefect server, and processes beside it that are started and stopped by their handles."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFECT = Path(sys.executable).with_name("prefect")


def until(look: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    """The first true thing that `look` returns; it is asked less often the longer it takes.

    Some dozen waits at once that ask five times a second would be most of the work of Prefect's server.
    """
    deadline = time.monotonic() + seconds
    pause = 0.1
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except httpx.TransportError:
            pass
        time.sleep(pause)
        pause = min(1.0, pause * 1.2)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process by its handle, and see it gone."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        raise


class Api(NamedTuple):
    """JSON over HTTP, sent again as Prefect's client does while the server's SQLite file is busy (503)."""

    client: httpx.Client

    def get(self, path: str) -> Any:
        return self.send("GET", path)

    def post(self, path: str, body: object) -> Any:
        return self.send("POST", path, body)

    def send(self, method: str, path: str, body: object = None) -> Any:
        def attempt() -> httpx.Response | None:
            answer = self.client.request(method, path, json=body)
            return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

        return until(attempt, f"an answer to {method} {path}").raise_for_status().json()


class Orchestrator:
    """The server; `with` starts it and stops it with all that was started beside it.

    Args:
        folder: of its database, and of the output of all processes.
        ui: whether it shows its pages.
        database: the URL of its database; a SQLite file in the folder when None.
    """

    def __init__(self, folder: Path, *, ui: bool = False, database: str | None = None) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/api"
        self.api = Api(httpx.Client(base_url=self.url, timeout=30))
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: dict[str, tuple[subprocess.Popen[bytes], Mapping[str, str]]] = {}
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_UI_ENABLED": str(ui).lower(),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            **({} if database is None else {"PREFECT_API_DATABASE_CONNECTION_URL": database}),
        }

    def __enter__(self) -> Self:
        self.serve()
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                stop(process)
        self.api.client.close()

    def serve(self) -> None:
        """Start the server, or start it again after it was stopped."""
        command = (PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(self._port))
        self.server = self.start("server", *command)
        until(lambda: self.api.client.get("/health").is_success, "the server's start")

    def start(
        self, name: str, *command: str | Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process whose output goes to the file `name`.log, in a session of its own."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env={**self.environment, **(environment or {})},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_worker(self, pool: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a worker of a pool of processes, which is made when it is not there.

        A pool has one worker: two with different environments would take each other's runs.
        """
        assert pool not in self.workers, f"the pool {pool} has a worker already"
        process = self._work(pool, environment)
        until(lambda: self.api.client.get(f"/work_pools/{pool}").is_success, f"the pool of the worker {pool}")
        return process

    def kill_worker(self, pool: str) -> None:
        """End the worker of a pool without a word; what it executes goes on by itself."""
        process, _ = self.workers[pool]
        process.kill()
        process.wait(10)

    def restart_worker(self, pool: str) -> None:
        """Start the worker of a pool again, after it was killed."""
        self._work(pool, self.workers[pool][1])

    def _work(self, pool: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        command = (PREFECT, "worker", "start", "--pool", pool, "--type", "process", "--name", pool)
        process = self.start(f"worker-{pool}", *command, environment=environment)
        self.workers[pool] = process, environment
        return process

    def logs(self) -> str:
        """The end of what each process wrote."""
        return "\n".join(f"{path.name}: {path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))
