"""The lock of an environment: exact versions with the digests of their files, resolved by uv and kept by what asked."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.artifacts.durable import make_folder, write_text
from prefect_ml.errors import ArtifactError
from prefect_ml.models.process_group import run_until
from prefect_ml.models.this_platform import this_platform
from prefect_ml.models.uv import find_uv, uv_environment
from prefect_ml.projects.progress import silent
from prefect_ml.projects.python_env import checked, checked_python

if TYPE_CHECKING:
    from prefect_ml.projects.definition import PythonEnvironment
    from prefect_ml.projects.progress import Tell

# What the first lines of a lock may say besides: its Python, and that our own package comes from where it is built.
PYTHON_LINE = "# python "
ALONG = "# and prefect-ml from here"
_SECONDS = 600.0
_HASHES = "--hash="


@dataclass(frozen=True, slots=True)
class Lock:
    """What an environment is made of, for this platform.

    Attributes:
        python: version that uv is asked for; None for the Python that runs this.
        text: a requirements file of pins with digests.
    """

    python: str | None
    text: str

    @property
    def digest(self) -> str:
        """What tells environments apart: the pins, the Python and the platform; SHA-256 in hex."""
        parts = [self.text, self.python or sys.version, this_platform(), platform.machine()]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def hashed(self) -> bool:
        """Whether each pin has the digests of its files."""
        return _HASHES in self.text

    def pins(self) -> list[str]:
        """`name==version`, without digests."""
        lines = (line.split(" ", 1)[0] for line in self.text.splitlines() if line and line[0] not in " #-")
        return sorted(line for line in lines if "==" in line)


def lock_of(
    environment: PythonEnvironment,
    folder: Path,
    cache: Path,
    *,
    refresh: bool = False,
    kept: str | None = None,
    tell: Tell = silent,
) -> Lock:
    """The lock of what a project asks for: the one that a run kept, its uv.lock, or one that is resolved now.

    What was resolved once is kept for the same requirements, so that later starts ask no index.

    Args:
        environment: what is asked for.
        folder: of the project.
        cache: where locks are kept.
        refresh: resolve anew, to the newest versions that fit.
        kept: text of a lock to use instead.
        tell: gets a line before what takes long.

    Raises:
        ArtifactError: uv cannot resolve it; the message is uv's.
        InvalidInputError: the kept lock holds something that is no requirement, or names no version of Python.
        NotFoundError: uv is not installed.
    """
    if kept is not None:
        for line in re.sub(r"\\\r?\n", " ", kept).splitlines():
            checked(line, "the lock that was kept")
        return Lock(_python_of(kept) if kept.startswith(PYTHON_LINE) else environment.python, kept)
    source = (folder / "uv.lock").read_bytes() if environment.locked else b""
    asked = json.dumps([environment.python, environment.requirements, this_platform(), sys.version])
    key = hashlib.sha256(asked.encode() + b"\0" + source).hexdigest()
    path = cache / "locks" / f"{key}.txt"
    if refresh or not path.is_file():
        tell("Resolving what the project asks for.")
        text = _exported(folder) if environment.locked else _resolved(environment)
        write_text(path, text, path.parent)
    return Lock(environment.python, path.read_text())


def _python_of(kept: str) -> str | None:
    """The Python that a lock names in its first line, None for the one that runs this."""
    named = checked_python(kept.partition("\n")[0].removeprefix(PYTHON_LINE).strip())
    return None if named == platform.python_version() else named


def _exported(folder: Path) -> str:
    argv = [find_uv(), "export", "--quiet", "--frozen", "--no-emit-project", "--no-dev", "--no-header"]
    with tempfile.TemporaryDirectory(prefix="prefect-ml-lock-") as scratch:
        found = Path(scratch) / "found.txt"
        # In a copy, since uv writes beside a lock.
        for name in ("pyproject.toml", "uv.lock"):
            shutil.copyfile(folder / name, Path(scratch) / name)
        _run([*argv, "--no-annotate", "--output-file", str(found), "--project", scratch], Path(scratch))
        return found.read_text()


def _resolved(environment: PythonEnvironment) -> str:
    argv = [find_uv(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--generate-hashes"]
    with tempfile.TemporaryDirectory(prefix="prefect-ml-lock-") as scratch:
        wanted, found = Path(scratch) / "wanted.in", Path(scratch) / "found.txt"
        wanted.write_text("".join(f"{line}\n" for line in environment.requirements))
        python = ["--python", environment.python or sys.executable]
        _run([*argv, *python, "--output-file", str(found), str(wanted)], Path(scratch))
        return found.read_text()


def _run(argv: list[str], cwd: Path) -> None:
    make_folder(cwd)
    code, said = run_until(argv, env=uv_environment(), cwd=cwd, until=time.monotonic() + _SECONDS)
    if code != 0:
        raise ArtifactError(f"uv cannot resolve what the project asks for: {' '.join(said.split())[-800:]}")
