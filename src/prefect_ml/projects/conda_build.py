"""Making an environment by conda, mamba or micromamba, and the lock of what is in it.

A lock names each package by its URL and digest, as `conda list --explicit` does, and after that what pip installed. It
is read from the environment's `conda-meta`, which all three write the same way, since their commands differ:
micromamba's `list` knew no `--explicit`, and conda's `env create` no `--yes`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
from contextlib import contextmanager
from importlib.metadata import Distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from prefect_ml.errors import ArtifactError, CorruptArtifactError, InvalidInputError
from prefect_ml.models.process_group import run_until
from prefect_ml.models.uv import find_uv, uv_environment
from prefect_ml.projects.python_env import checked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prefect_ml.projects.definition import CondaEnvironment

_SECONDS = 3600.0
# https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html#building-identical-conda-environments
_DIGESTS: Mapping[int, Any] = {32: lambda: hashlib.md5(usedforsecurity=False), 64: hashlib.sha256}
_EXPLICIT = "@EXPLICIT"
_PIP = "# by pip"
_PACKAGE = re.compile(r"(?:https?|file)://[^\s@]+\.(?:conda|tar\.bz2)(?:#[0-9a-f]{32}(?:[0-9a-f]{32})?)?", re.ASCII)


def create(conda: str, environment: CondaEnvironment, target: Path) -> None:
    """Make the environment that a file asks for.

    Args:
        conda: path of conda, mamba or micromamba.
        environment: what is asked for.
        target: the folder that it is made in, and stays in: conda writes absolute paths.

    Raises:
        ArtifactError: it cannot be made; the message is the tool's.
    """
    words = ["create"] if Path(conda).name == "micromamba" else ["env", "create"]
    with _written(target, ".yaml", environment.file) as file:
        _run([conda, *words, "--prefix", str(target), "--file", str(file)], _environment())


def create_again(conda: str, lock: str, target: Path) -> None:
    """Make the environment that a lock names, with just these packages.

    Raises:
        InvalidInputError: it is no lock of conda's.
        ArtifactError: it cannot be made; the message is the tool's.
        CorruptArtifactError: a package of a channel on this machine is not the one that the lock names.
    """
    packages, by_pip = _parts(lock)
    for each in packages:
        _check(each)
    with _written(target, ".txt", "\n".join([_EXPLICIT, *packages, ""])) as file:
        _run([conda, "create", "--yes", "--prefix", str(target), "--file", str(file)], _environment())
    if by_pip:
        with _written(target, ".txt", "\n".join([*by_pip, ""])) as file:
            install = [find_uv(), "pip", "install", "--quiet", "--no-deps", "--python", str(target / "bin" / "python")]
            _run([*install, "--requirement", str(file)], uv_environment())


def lock_in(target: Path) -> str:
    """What is in an environment; a package that came from a lock is recorded without its digest, which that lock has.

    Raises:
        ArtifactError: it was made by something else.
    """
    try:
        records = [json.loads(path.read_bytes()) for path in sorted((target / "conda-meta").glob("*.json"))]
        packages = sorted(_named(each) for each in records)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"What conda installed cannot be read from {target / 'conda-meta'}: {error!r}.") from error
    lines = [_EXPLICIT, *packages, *([_PIP, *pins] if (pins := _pins(target, records)) else [])]
    return "".join(f"{line}\n" for line in lines)


def _named(record: Mapping[str, Any]) -> str:
    digest = record.get("md5") or record.get("sha256")
    return f"{record['url']}#{digest}" if digest else str(record["url"])


def _pins(target: Path, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What pip installed, which no package of conda's holds; what came from a folder or URL is left to its project."""
    held = {name for each in records for name in each.get("files", ())}
    found = set()
    for about in target.glob("lib/python3*/site-packages/*.dist-info/METADATA"):
        each = Distribution.at(about.parent)
        if about.relative_to(target).as_posix() not in held and not each.read_text("direct_url.json"):
            found.add(f"{each.metadata['Name']}=={each.version}")
    return sorted(found)


def _parts(lock: str) -> tuple[list[str], list[str]]:
    lines = [line for each in lock.splitlines() if (line := each.strip())]
    if not lines or lines[0] != _EXPLICIT:
        raise InvalidInputError("The lock that was kept is none of conda's.")
    end = lines.index(_PIP) if _PIP in lines else len(lines)
    packages = lines[1:end]
    if wrong := [line for line in packages if not _PACKAGE.fullmatch(line)]:
        raise InvalidInputError(f"{wrong[0][:100]!r} in the lock that was kept is no package of conda's.")
    return packages, [pin for line in lines[end + 1 :] for pin in checked(line, "the lock that was kept")]


def _check(package: str) -> None:
    """Look at the digest of a file of this machine: conda compares that of what it fetches alone."""
    url, _, digest = package.partition("#")
    if not url.startswith("file:") or not digest:
        return
    path = Path(unquote(urlsplit(url).path))
    if not path.is_file():
        raise ArtifactError(f"The package {path.name!r} of the lock is not in its channel: {url}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, _DIGESTS[len(digest)]).hexdigest()
    if found != digest:
        raise CorruptArtifactError(f"The package {path.name!r} is not the one that the lock names.")


@contextmanager
def _written(target: Path, suffix: str, text: str) -> Iterator[Path]:
    file = target.parent / f".{uuid.uuid4().hex}{suffix}"
    file.write_text(text)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """Nobody is there to be asked; not every command of each of them has an option that says so."""
    return {**os.environ, "CONDA_ALWAYS_YES": "true", "MAMBA_ALWAYS_YES": "true"}


def _run(argv: Sequence[str], environment: dict[str, str]) -> None:
    code, said = run_until(argv, env=environment, cwd=Path.cwd(), until=time.monotonic() + _SECONDS)
    if code != 0:
        raise ArtifactError(f"The environment cannot be built: {' '.join(said.split())[-800:]}")
