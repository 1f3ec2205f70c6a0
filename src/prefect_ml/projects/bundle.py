"""A project's folder as one file, named by the digest of what is in it, so that it can run elsewhere as it is here.

The file is a gzipped tar in which times, owners and order are fixed: the same files give the same digest anywhere.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import uuid
from pathlib import Path
from typing import IO, TYPE_CHECKING

from prefect_ml.artifacts.durable import make_folder
from prefect_ml.artifacts.names import split_name
from prefect_ml.errors import CorruptArtifactError, InvalidInputError, InvalidNameError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect_ml.artifacts.contract import ArtifactStore

FOLDER = "project-bundles"
_MOST_BYTES = 512 << 20
_MOST_FILES = 20_000
_SECONDS = 60.0
# What is made from the sources, and what holds secrets.
_LEFT_OUT = frozenset({
    ".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", "__pycache__", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", ".ipynb_checkpoints", "node_modules", "mlruns", ".DS_Store", ".env", ".netrc", ".aws", ".ssh",
})  # fmt: skip


def put_bundle(folder: Path, artifacts: ArtifactStore) -> str:
    """Keep a folder in an artifact store; its digest, SHA-256 in hex.

    Left out are what git ignores, caches, virtual environments, and files that hold secrets by their names
    (`.env`, `.netrc`, `*.pem`, `*.key`).

    Args:
        folder: root of the project.
        artifacts: where it is kept; what is there already is not sent again.

    Raises:
        InvalidInputError: the folder is larger than 512 MiB or 20,000 files, or a link in it leaves it.
    """
    with tempfile.TemporaryFile() as stream:
        _pack(folder, stream)
        digest = _digest(stream)
        name = f"{digest}.tar.gz"
        try:
            artifacts.reader(name).close()
        except NotFoundError:
            artifacts.put(name, stream)
    return digest


def fetch_bundle(digest: str, artifacts: ArtifactStore, cache: Path) -> Path:
    """The folder of a bundle, made once and then taken from `cache`; nobody may write to it.

    Raises:
        CorruptArtifactError: what is kept is not what the digest names.
        NotFoundError: there is no such bundle.
    """
    target = cache / "projects" / "bundles" / digest
    if target.is_dir():
        return target
    make_folder(target.parent)
    partial = target.parent / f".{uuid.uuid4().hex}.partial"
    archive = partial.with_suffix(".tar.gz")
    try:
        artifacts.download(f"{digest}.tar.gz", archive)
        with archive.open("rb") as stream:
            if _digest(stream) != digest:
                raise CorruptArtifactError(f"The bundle {digest} is not what its digest says; pack the project again.")
            make_folder(partial)
            _unpack(stream, partial)
        try:
            partial.replace(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
    return target


def files_of(folder: Path) -> list[str]:
    """The files of a project by their names, sorted: those that git would commit, or all but what is never wanted."""
    names = _tracked(folder)
    if names is None:
        names = list(_walked(folder))
    found = sorted(name for name in names if not _unwanted(tuple(name.split("/"))))
    if len(found) > _MOST_FILES:
        raise InvalidInputError(
            f"The folder has {len(found)} files, and a bundle takes {_MOST_FILES}; ignore what is no source."
        )
    return found


def digest_of(folder: Path) -> str:
    """The digest that the bundle of a folder has."""
    with tempfile.TemporaryFile() as stream:
        _pack(folder, stream)
        return _digest(stream)


def _tracked(folder: Path) -> list[str] | None:
    argv = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"]
    argv += ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - an argument vector
            argv, capture_output=True, env=environment, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    names = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    # What is listed may have been removed, or be a submodule.
    return [name for name in names if name and ((folder / name).is_file() or (folder / name).is_symlink())]


def _walked(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        yield from ((Path(root) / name).relative_to(folder).as_posix() for name in files)


def _unwanted(parts: tuple[str, ...]) -> bool:
    return any(part in _LEFT_OUT or part.endswith((".pyc", ".pem", ".key")) for part in parts)


def _pack(folder: Path, stream: IO[bytes]) -> None:
    root, size = folder.resolve(), 0
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in files_of(folder):
            path = folder / name
            if not path.resolve().is_relative_to(root):
                raise InvalidInputError(f"The link {name!r} leaves the project; put what it points to into the folder.")
            try:
                split_name(name)
            except InvalidNameError as error:
                raise InvalidInputError(f"A project cannot be packed with this file: {error}") from error
            content = path.resolve().read_bytes()
            size += len(content)
            if size > _MOST_BYTES:
                raise InvalidInputError(
                    f"The folder is larger than the {_MOST_BYTES >> 20} MiB of a bundle; keep data out of it."
                )
            about = tarfile.TarInfo(name)
            about.size, about.mode = len(content), 0o755 if os.access(path, os.X_OK) else 0o644
            archive.addfile(about, io.BytesIO(content))


def _unpack(stream: IO[bytes], folder: Path) -> None:
    size = count = 0
    with tarfile.open(fileobj=stream, mode="r:gz") as archive:
        for member in archive:
            size += member.size
            count += 1
            if size > _MOST_BYTES or count > _MOST_FILES or not member.isreg():
                raise InvalidInputError("The bundle holds more than a bundle may, or something that is no file.")
            split_name(member.name)
            archive.extract(member, folder, filter="data")


def _digest(stream: IO[bytes]) -> str:
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # a temporary file can all of it
    stream.seek(0)
    return digest
