"""Training processes to kill, a PostgreSQL server of the test's own, and small disks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(__file__).parent


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "20")
    monkeypatch.setenv("PREFECT_ML_FLUSH_INTERVAL", "0.05")


@pytest.fixture(autouse=True)
def only_what_is_logged(monkeypatch):
    """The store is compared with the calls, point by point; and hundreds of processes start."""
    monkeypatch.setenv("PREFECT_ML_CAPTURE", "")


class Nursery:
    """Forks training processes; see `nursery.py` and `training.SPEC`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, str(FOLDER / "nursery.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._alive: set[int] = set()
        self._born = 0

    @property
    def ledgers(self) -> list[Path]:
        return sorted(self.folder.glob("*.ledger"))

    @property
    def errors(self) -> str:
        """What all of them wrote to their standard error, warnings included."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.errors")))

    def fork(self, **spec: Any) -> int:
        """Start one, with a ledger of its own; its process id."""
        self._born += 1
        name = self.folder / f"{self._born:04}"
        environment = {key: value for key, value in os.environ.items() if key.startswith("PREFECT_ML_")}
        environment |= spec.pop("environment", {})
        files = {"ledger": f"{name}.ledger", "errors": f"{name}.errors"}
        given = {"seed": self._born, "environment": environment, **files, **spec}
        pid = self._ask("fork", given)
        self._alive.add(pid)
        return pid

    def wait(self, pid: int) -> int:
        self._alive.discard(pid)
        return self._ask("wait", pid)

    def kill(self, pid: int) -> int:
        """SIGKILL, and how the process ended: it may have been faster."""
        os.kill(pid, signal.SIGKILL)
        return self.wait(pid)

    def close(self) -> None:
        for pid in list(self._alive):
            self.kill(pid)
        self._process.communicate(timeout=10)

    def _ask(self, what: str, given: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps((what, given)) + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    folder = tmp_path / "nursery"
    folder.mkdir()
    made = Nursery(folder)
    yield made
    made.close()


@pytest.fixture
def own_postgres() -> Iterator[postgres.Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    made = postgres.Postgres(folder)
    yield made
    made.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts file systems in memory of the size that is asked for, as in "256k"."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            refuse = pytest.fail if os.environ.get("PREFECT_ML_REQUIRE_ALL") == "1" else pytest.skip
            refuse(f"this machine mounts no tmpfs: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607 - the one on the PATH


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    """Waits until something is so, for a minute at most."""
    return postgres.wait_until
