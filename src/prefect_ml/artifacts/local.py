"""Artifacts in a folder of this machine."""

from __future__ import annotations

import io
import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from prefect_ml.artifacts.digests import HIDDEN, DigestNotes
from prefect_ml.artifacts.durable import copy_hashed, make_folder, open_to_read, settle, temporary
from prefect_ml.artifacts.names import resolve, split_name
from prefect_ml.entities import ArtifactInfo
from prefect_ml.errors import ArtifactError, CorruptArtifactError, InvalidNameError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# How often a read starts again because the file was replaced under it.
_ATTEMPTS = 5


class LocalArtifactStore:
    """An `ArtifactStore` in a folder; files are 0600, folders 0700.

    Files that something else put there are read as they are, with `digest` None in `list`.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(root).absolute()

    def __repr__(self) -> str:
        return f"LocalArtifactStore({str(self._root)!r})"

    @property
    def uri(self) -> str:
        return str(self._root)

    @property
    def _notes(self) -> DigestNotes:
        return DigestNotes(self._root)

    def put(self, name: str, source: Path | bytes | BinaryIO) -> ArtifactInfo:
        """Write one file in chunks; see `ArtifactStore.put`."""
        target, segments = self._locate(name)
        with _explained(f"write artifact {name!r}"), _opened(source) as stream:
            if target.is_dir() or any(parent.is_file() for parent in target.parents):
                raise ArtifactError(
                    f"The artifact {name!r} cannot be both a file and a folder; delete the other first."
                )
            with temporary(self._notes.scratch) as (partial, handle):
                size, digest = copy_hashed(stream, handle)
                settle(handle)
                make_folder(target.parent)
                self._notes.commit(segments, digest, partial, target)
        return ArtifactInfo(name, is_folder=False, size=size, digest=f"sha256:{digest}")

    def put_folder(self, folder: Path, name: str = "") -> Sequence[ArtifactInfo]:
        """Write every file below `folder`; all of them are checked before the first is written."""
        prefix = f"{name}/" if name else ""
        files = [(prefix + relative, path) for relative, path in files_below(Path(folder))]
        for full_name, _ in files:
            self._locate(full_name)
        return [self.put(full_name, path) for full_name, path in files]

    def read(self, name: str) -> bytes:
        content = io.BytesIO()
        self._copy_verified(name, content)
        return content.getvalue()

    def download(self, name: str, target: Path) -> Path:
        """Copy a file or folder ("" is the whole root); a new target comes into being at the end."""
        source = self._root if name == "" else self._locate(name)[0]
        target = Path(target)
        if not source.is_dir():
            with _explained(f"download artifact {name!r}"), temporary(target.parent) as (partial, handle):
                self._copy_verified(name, handle)
                settle(handle)
                partial.replace(target)
            return target
        with _explained(f"download artifacts {name!r}"):
            self._download_folder(name, target)
        return target

    def list(self, name: str = "") -> Sequence[ArtifactInfo]:
        folder = self._root if name == "" else self._locate(name)[0]
        try:
            with os.scandir(folder) as entries:
                found = [self._describe(name, entry) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted((info for info in found if info is not None), key=lambda info: info.name)

    def delete(self, name: str) -> None:
        target, segments = self._locate(name)
        with _explained(f"delete artifact {name!r}"):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            if self._root.is_dir():
                self._notes.forget(segments)

    def _locate(self, name: str) -> tuple[Path, tuple[str, ...]]:
        segments = split_name(name)
        # Folded, since on some file systems names that differ in case alone are one file.
        if segments[0].casefold() == HIDDEN:
            raise InvalidNameError(f"The artifact name {name!r} is reserved; choose one outside {HIDDEN!r}.")
        return resolve(self._root, name), segments

    def _copy_verified(self, name: str, target: BinaryIO) -> None:
        """Write a file's bytes to `target`; raises after writing when they are not the recorded ones."""
        path, segments = self._locate(name)
        for _ in range(_ATTEMPTS):
            with _explained(f"read artifact {name!r}"), open_to_read(path) as stream:
                seen = os.fstat(stream.fileno())
                target.seek(0)
                target.truncate()
                _, digest = copy_hashed(stream, target)
            accepted = self._notes.accepted(segments)
            if not accepted or digest in accepted:
                return
            if _same_file(path, seen):
                break
        raise CorruptArtifactError(
            f"The artifact {name!r} of {self.uri} has SHA-256 {digest}, but {accepted[0]} was written; "
            "restore it from a copy or write it again."
        )

    def _download_folder(self, name: str, target: Path) -> None:
        make_folder(target.parent)
        partial = target.parent / f".{target.name}.{uuid.uuid4().hex}.partial"
        try:
            make_folder(partial)
            for file_name in self._walk(name):
                self.download(file_name, partial / (file_name[len(name) + 1 :] if name else file_name))
            if target.is_dir() and any(target.iterdir()):
                for relative, path in files_below(partial):
                    make_folder((target / relative).parent)
                    path.replace(target / relative)
            else:
                partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _walk(self, name: str) -> Iterator[str]:
        for info in self.list(name):
            if info.is_folder:
                yield from self._walk(info.name)
            else:
                yield info.name

    def _describe(self, folder: str, entry: os.DirEntry[str]) -> ArtifactInfo | None:
        """The entry as others see it; None for our own tree, for links and for what has no name here."""
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_symlink() or (not folder and entry.name == HIDDEN):
            return None
        try:
            segments = split_name(name)
        except InvalidNameError:
            return None
        if entry.is_dir():
            return ArtifactInfo(name, is_folder=True)
        accepted = self._notes.accepted(segments)
        digest = f"sha256:{accepted[0]}" if accepted else None
        return ArtifactInfo(name, is_folder=False, size=entry.stat(follow_symlinks=False).st_size, digest=digest)


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each file below a folder by relative POSIX name, sorted.

    Raises:
        NotFoundError: there is no such folder.
        InvalidNameError: a link leaves the folder or points to a folder, or an entry is no regular file.
    """
    if not folder.is_dir():
        raise NotFoundError(f"There is no folder {str(folder)!r}; give the path of an existing one.")
    real = folder.resolve()
    for parent, folders, names in os.walk(real):
        folders.sort()
        for entry in sorted((*folders, *names)):
            path = Path(parent, entry)
            if path.is_dir() and not path.is_symlink():
                continue
            actual = path.resolve()
            if not actual.is_relative_to(real) or not actual.is_file():
                raise InvalidNameError(
                    f"{str(path)!r} is a link that leaves its folder or no regular file; replace it by a plain file."
                )
            yield path.relative_to(real).as_posix(), actual


def _same_file(path: Path, seen: os.stat_result) -> bool:
    """Whether the file at `path` is still the one that was opened."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    return (now.st_ino, now.st_mtime_ns, now.st_size) == (seen.st_ino, seen.st_mtime_ns, seen.st_size)


@contextmanager
def _opened(source: Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, (str, Path)):
        with Path(source).open("rb") as stream:
            yield stream
    else:
        yield source


@contextmanager
def _explained(action: str) -> Iterator[None]:
    """Turn what the operating system says into an error of ours."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"Cannot {action}: {error.filename!r} does not exist.") from error
    except OSError as error:
        raise ArtifactError(f"Cannot {action}: {error.strerror or error} ({error.filename!r}).") from error
