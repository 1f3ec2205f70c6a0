"""Building the environment of a project by uv or conda, once for each lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.artifacts.durable import make_folder, write_text
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.process_group import run_until
from prefect_ml.models.this_platform import this_platform
from prefect_ml.models.uv import find_uv, uv_environment
from prefect_ml.projects.conda import find_conda
from prefect_ml.projects.definition import CondaEnvironment, DockerEnvironment, Environment, PythonEnvironment
from prefect_ml.projects.locks import Lock, lock_of
from prefect_ml.projects.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prefect_ml.projects.progress import Tell

_SECONDS = 3600.0
_COMPLETE = "complete"
_LOCK_FILE = "lock.txt"
# Beyond these, what was not used for longest goes.
_MOST_KEPT = 50


@dataclass(frozen=True, slots=True)
class Built:
    """An environment that a command can run in.

    Attributes:
        python: its Python.
        path: folders that go first on the PATH.
        kind: "uv", "conda", or "local" for the Python that runs this.
        lock: what it is made of; None for "local".
        new: whether it was built just now.
        has_mlflow: whether MLflow is installed in it, which then needs a server to speak to.
        variables: what its tools expect in the environment.
    """

    python: Path
    path: tuple[Path, ...]
    kind: str
    lock: str | None = None
    new: bool = False
    has_mlflow: bool = False
    variables: dict[str, str] = field(default_factory=dict)


def build(
    environment: Environment | None,
    folder: Path,
    cache: Path,
    *,
    refresh: bool = False,
    kept: str | None = None,
    tell: Tell = silent,
) -> Built:
    """The environment of a project, from the cache where it has been built before.

    Args:
        environment: what the project asks for; None for the Python that runs this.
        folder: of the project.
        cache: where environments are kept, each under the digest of its lock.
        refresh: resolve the newest versions that fit instead of those of an earlier run.
        kept: the lock that an earlier run kept, to be used instead.
        tell: gets a line before what takes long.

    Raises:
        ArtifactError: it cannot be resolved or built; the message is the tool's.
        InvalidInputError: it is an image, which a work pool runs and nobody builds here.
        NotFoundError: uv or conda is not installed.
    """
    match environment:
        case None:
            python = Path(sys.executable)
            return Built(python, (python.parent,), "local", has_mlflow=_has_mlflow(Path(sys.prefix)))
        case DockerEnvironment():
            raise InvalidInputError(
                f"The project runs in the image {environment.image!r}: run it on a work pool of type docker or "
                "kubernetes (--work-pool)."
            )
        case CondaEnvironment():
            return _conda(environment, cache, refresh=refresh, kept=kept, tell=tell)
        case PythonEnvironment():
            lock = lock_of(environment, folder, cache, refresh=refresh, kept=kept, tell=tell)
            return _by_uv(lock, cache / "environments" / lock.digest, tell)


def _by_uv(lock: Lock, target: Path, tell: Tell) -> Built:
    new = False
    with _alone(target):
        if not (target / _COMPLETE).is_file():
            new = True
            tell(f"Building the environment by uv; packages: {len(lock.pins())}.")
            _make(target, lambda partial: _install(lock, partial))
            _forget_old(target.parent)
    _note_use(target)
    bin_folder = target / ("Scripts" if os.name == "nt" else "bin")
    variables = {"VIRTUAL_ENV": str(target)}
    return Built(bin_folder / "python", (bin_folder,), "uv", lock.text, new, _has_mlflow(target), variables)


def _install(lock: Lock, partial: Path) -> None:
    uv, until = find_uv(), time.monotonic() + _SECONDS
    # A project may ask for another Python than this one, and uv may fetch that, unless the operator forbids it.
    environment = {**uv_environment(), "UV_PYTHON_DOWNLOADS": os.environ.get("UV_PYTHON_DOWNLOADS", "automatic")}
    interpreter = lock.python or sys.executable
    _run([uv, "venv", "--quiet", "--relocatable", "--python", interpreter, "--", str(partial)], environment, until)
    (partial / _LOCK_FILE).write_text(lock.text)
    install = [uv, "pip", "sync", "--quiet", "--python", str(partial / "bin" / "python"), "--allow-empty-requirements"]
    verify = ["--require-hashes"] if lock.hashed else []
    _run([*install, *verify, "--", str(partial / _LOCK_FILE)], environment, until)


def _conda(environment: CondaEnvironment, cache: Path, *, refresh: bool, kept: str | None, tell: Tell) -> Built:
    from prefect_ml.projects.conda_build import create, create_again, lock_in  # noqa: PLC0415 - only those who use it pay for its import

    conda = find_conda()
    parts = [kept or environment.file, this_platform(), platform.machine()]
    asked = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    note = cache / "locks" / f"conda-{asked}.json"
    with _alone(cache / "environments" / f"conda-{asked}"):
        known = json.loads(note.read_bytes()) if note.is_file() and not refresh else {}
        target = cache / "environments" / known.get("folder", "none")
        if new := not (target / _COMPLETE).is_file():
            tell(f"Building the environment by {Path(conda).name}.")
            # conda writes absolute paths, so it builds where the environment stays.
            target = cache / "environments" / f"conda-{uuid.uuid4().hex}"
            try:
                if lock := kept or known.get("lock"):
                    create_again(conda, lock, target)
                else:
                    create(conda, environment, target)
                (target / _LOCK_FILE).write_text(lock or lock_in(target))
                (target / _COMPLETE).touch()
            except BaseException:
                shutil.rmtree(target, ignore_errors=True)
                raise
            made = {"folder": target.name, "lock": (target / _LOCK_FILE).read_text()}
            write_text(note, json.dumps(made), note.parent)
            _forget_old(target.parent)
    _note_use(target)
    bin_folder = target / "bin"
    variables = {"CONDA_PREFIX": str(target)}
    lock = (target / _LOCK_FILE).read_text()
    return Built(bin_folder / "python", (bin_folder,), "conda", lock, new, _has_mlflow(target), variables)


def _make(target: Path, fill: Callable[[Path], None]) -> None:
    partial = target.parent / f".{uuid.uuid4().hex}.partial"
    try:
        fill(partial)
        (partial / _COMPLETE).touch()
        if not (target / _COMPLETE).is_file():
            # Half of one, whose removal was cut short.
            shutil.rmtree(target, ignore_errors=True)
        partial.replace(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not (target / _COMPLETE).is_file():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _run(argv: Sequence[str], environment: dict[str, str], until: float) -> str:
    code, said = run_until(argv, env=environment, cwd=Path.cwd(), until=until)
    if code != 0:
        raise ArtifactError(f"The environment cannot be built: {' '.join(said.split())[-800:]}")
    return said


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Only one process builds an environment; the others wait for it."""
    make_folder(target.parent)
    if (target / _COMPLETE).is_file():
        yield
        return
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _note_use(target: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(target / _COMPLETE)


def _forget_old(folder: Path) -> None:
    """Remove environments that nobody used for longest, beyond what is kept."""
    used: dict[Path, float] = {}
    for path in folder.glob(f"*/{_COMPLETE}"):
        with contextlib.suppress(FileNotFoundError):  # others forget, too
            used[path.parent] = path.stat().st_mtime
    for target in sorted(used, key=used.__getitem__, reverse=True)[_MOST_KEPT:]:
        gone = folder / f".{uuid.uuid4().hex}.partial"
        with contextlib.suppress(OSError):
            # In one step, so that nobody finds half of it.
            target.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _has_mlflow(prefix: Path) -> bool:
    return any(prefix.glob("lib/python3*/site-packages/mlflow")) or any(prefix.glob("Lib/site-packages/mlflow"))
