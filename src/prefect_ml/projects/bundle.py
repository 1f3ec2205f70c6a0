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
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

from prefect_ml.artifacts.durable import make_folder
from prefect_ml.artifacts.names import split_name
from prefect_ml.errors import CorruptArtifactError, InvalidInputError, InvalidNameError, NotFoundError
from prefect_ml.tracking.capture.redact import is_secret_file
from prefect_ml.tracking.capture.repository import in_repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect_ml.artifacts.contract import ArtifactStore

FOLDER = "project-bundles"
_MOST_BYTES = 512 << 20
_MOST_FILES = 20_000
_SECONDS = 60.0
# Bytes of an archive beside those of its files: a header and one of long names for each, and the padding behind it.
_MOST_AROUND = _MOST_FILES * 4096
# What is made from the sources, and what holds secrets.
_LEFT_OUT = frozenset({
    ".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", "__pycache__", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", ".ipynb_checkpoints", "node_modules", "mlruns", ".DS_Store", ".aws", ".ssh", ".gnupg", ".kube",
})  # fmt: skip
# Named as if it held secrets, and is source or says what is to be filled in.
_NO_SECRETS = (".py", ".example", ".sample", ".template")


def put_bundle(folder: Path, artifacts: ArtifactStore) -> str:
    """Keep a folder in an artifact store; its digest, SHA-256 in hex.

    Left out are what git ignores, caches, virtual environments, and files that hold secrets by their names
    (`.env`, `.env.*`, `.netrc`, `id_rsa`, `*.pem`, `*.key` and the like). A link to a folder is kept as the files in
    that folder.

    Args:
        folder: root of the project.
        artifacts: where it is kept; what is there already is not sent again.

    Raises:
        InvalidInputError: the folder is larger than 512 MiB or 20,000 files, or a link in it leaves it or points to
            nothing.
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
        CorruptArtifactError: what is kept is not what the digest names, or no bundle.
        InvalidInputError: it holds more than a bundle may.
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
    wanted = {name for name in names if not _unwanted(tuple(name.split("/")))}
    found = sorted(_with_linked_folders(folder, wanted))
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
    if not in_repository(folder):
        return None
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
        for path in (Path(root) / name for name in (*files, *folders)):
            # Pipes and sockets are no source, and reading one waits for ever.
            if path.is_symlink() or path.is_file():
                yield path.relative_to(folder).as_posix()


def _unwanted(parts: tuple[str, ...]) -> bool:
    secret = is_secret_file(parts[-1]) and not parts[-1].endswith(_NO_SECRETS)
    return secret or any(part in _LEFT_OUT or part.endswith(".pyc") for part in parts)


def _with_linked_folders(folder: Path, names: set[str]) -> Iterator[str]:
    """The names of files; in the place of a link to a folder, those of the files in it, below the link's own name."""
    links = {name for name in names if (folder / name).is_symlink() and (folder / name).is_dir()}
    yield from names - links
    for link in links:
        target = _inside(folder, link).relative_to(os.path.realpath(folder)).as_posix() + "/"
        below = {name for name in names if name.startswith(target)}
        if target == "./" or below & links:
            raise InvalidInputError(f"The link {link!r} leads to a folder with such links in it; pack it without.")
        yield from (f"{link}/{name.removeprefix(target)}" for name in below)


def _inside(folder: Path, name: str) -> Path:
    """Where a file of the project really is."""
    real = Path(os.path.realpath(folder / name))
    if not real.is_relative_to(os.path.realpath(folder)):
        raise InvalidInputError(f"The link {name!r} leaves the project; put what it points to into the folder.")
    return real


def _pack(folder: Path, stream: IO[bytes]) -> None:
    size = 0
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in files_of(folder):
            path = _inside(folder, name)
            try:
                split_name(name)
            except InvalidNameError as error:
                raise InvalidInputError(f"A project cannot be packed with this file: {error}") from error
            content = _read(path, name, _MOST_BYTES - size)
            size += len(content)
            about = tarfile.TarInfo(name)
            about.size, about.mode = len(content), 0o755 if os.access(path, os.X_OK) else 0o644
            archive.addfile(about, io.BytesIO(content))


def _read(path: Path, name: str, most: int) -> bytes:
    if not path.is_file():
        raise InvalidInputError(f"{name!r} is a link that points to no file; remove it, or put the file there.")
    try:
        with path.open("rb") as stream:
            if (size := os.fstat(stream.fileno()).st_size) > most:
                raise InvalidInputError(
                    f"The folder is larger than the {_MOST_BYTES >> 20} MiB of a bundle; keep data out of it."
                )
            return stream.read(size)
    except OSError as error:
        raise InvalidInputError(f"The file {name!r} cannot be read: {error.strerror}.") from error


def _unpack(stream: IO[bytes], folder: Path) -> None:
    size = count = 0
    try:
        with (
            gzip.GzipFile(fileobj=stream) as unpacked,
            # As a stream, so that what a header claims is never looked for beyond what was counted.
            tarfile.open(fileobj=_Counted(unpacked), mode="r|") as archive,
        ):
            for member in archive:
                size += member.size
                count += 1
                if size > _MOST_BYTES or count > _MOST_FILES or not member.isreg():
                    raise _too_much()
                split_name(member.name)
                archive.extract(member, folder, filter="data")
    # What a name says twice, as a file and as a folder, are the last three.
    except (
        tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, InvalidNameError,
        FileExistsError, NotADirectoryError, IsADirectoryError,
    ) as error:  # fmt: skip
        raise CorruptArtifactError(f"What is kept is no bundle: {error}. Pack the project again.") from error


class _Counted(io.BufferedIOBase):
    """What is unpacked, which ends in an error where a bundle would have ended: a little packed may be a lot."""

    def __init__(self, unpacked: gzip.GzipFile) -> None:
        self._unpacked = unpacked
        self._left = _MOST_BYTES + _MOST_AROUND

    def read(self, size: int | None = -1) -> bytes:
        piece = self._unpacked.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise _too_much()
        return piece


def _too_much() -> InvalidInputError:
    return InvalidInputError("The bundle holds more than a bundle may, or something that is no file.")


def _digest(stream: IO[bytes]) -> str:
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # a temporary file can all of it
    stream.seek(0)
    return digest
