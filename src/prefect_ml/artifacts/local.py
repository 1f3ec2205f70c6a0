"""Artifacts in a folder of this machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from prefect_ml.artifacts.digests import DigestNotes
from prefect_ml.artifacts.durable import CHUNK, open_to_read, settle, temporary
from prefect_ml.artifacts.explained import conflict, explained
from prefect_ml.artifacts.names import HIDDEN, own_name, resolve
from prefect_ml.artifacts.streamed import StreamedStore
from prefect_ml.artifacts.unchanged import UNCHANGED
from prefect_ml.artifacts.verified import ALGORITHM, Tally, corrupt, verified
from prefect_ml.entities import ArtifactInfo
from prefect_ml.errors import ArtifactError, InvalidNameError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# How often an opening starts again because the file was replaced under it.
_ATTEMPTS = 20


class LocalArtifactStore(StreamedStore):
    """An `ArtifactStore` in a folder; files are 0600, folders 0700.

    Files that something else put there are read as they are, with `digest` None in `list`. A file keeps its digest
    whether it is reached from this root or from a folder above it that is the root of another store.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(root).absolute()

    @property
    def uri(self) -> str:
        return str(self._root)

    def writer(self, name: str) -> LocalWriter:
        """Begin to write one file; what killed writers left a day ago is swept away."""
        target, notes, segments = self._locate(name)
        with explained(f"write artifact {name!r}"):
            if target.is_dir() or any(parent.is_file() for parent in target.parents):
                raise conflict(name)
            notes.sweep()
            return LocalWriter(name, target, notes, segments)

    def reader(self, name: str) -> LocalReader:
        """Open one file and learn its digest, in one state of both."""
        path, notes, segments = self._locate(name)
        for _ in range(_ATTEMPTS):
            with explained(f"read artifact {name!r}", where=False):
                if path.is_dir():
                    raise NotFoundError(f"The artifact {name!r} is a folder; name a file in it.")
                stream = open_to_read(path)
            seen = os.fstat(stream.fileno())
            accepted = [f"{ALGORITHM}{digest}" for digest in notes.accepted(segments)]
            # The notes are those of what lay there when they were read: of this file, if it still does.
            if _same_file(path, seen):
                return LocalReader(name, self.uri, stream, seen, accepted)
            stream.close()
        raise ArtifactError(f"The artifact {name!r} is being replaced all the time; read it again.")

    def list(self, name: str = "") -> Sequence[ArtifactInfo]:
        folder = self._root if name == "" else self._locate(name)[0]
        try:
            with explained(f"list artifacts {name!r}"), os.scandir(folder) as entries:
                found = [self._describe(name, entry) for entry in entries]
        except NotFoundError:
            return []
        return sorted((info for info in found if info is not None), key=lambda info: info.name)

    def delete(self, name: str) -> None:
        target, notes, segments = self._locate(name)
        with explained(f"delete artifact {name!r}"):
            if self._root.is_dir():
                notes.delete(segments, target)

    def _locate(self, name: str) -> tuple[Path, DigestNotes, tuple[str, ...]]:
        """The path of a file, and the notes of its digest with its name there.

        These are in the nearest folder above it that has notes: it may be the root of a run, which another process
        opens as a store of its own.
        """
        segments = own_name(name)
        path = resolve(self._root, name)
        for depth in range(len(segments) - 1, 0, -1):
            root = self._root.joinpath(*segments[:depth])
            if (root / HIDDEN).is_dir():
                return path, DigestNotes(root), segments[depth:]
        return path, DigestNotes(self._root), segments

    def _describe(self, folder: str, entry: os.DirEntry[str]) -> ArtifactInfo | None:
        """The entry as others see it; None for our own tree, for links and for what has no name here."""
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_symlink():
            return None
        try:
            _, notes, segments = self._locate(name)
        except InvalidNameError:
            return None
        if entry.is_dir():
            return ArtifactInfo(name, is_folder=True)
        accepted = notes.accepted(segments)
        digest = f"{ALGORITHM}{accepted[0]}" if accepted else None
        return ArtifactInfo(name, is_folder=False, size=entry.stat(follow_symlinks=False).st_size, digest=digest)


class LocalWriter:
    """An `ArtifactWriter` into a partial file beside the notes."""

    def __init__(self, name: str, target: Path, notes: DigestNotes, segments: tuple[str, ...]) -> None:
        self._name = name
        self._target = target
        self._notes = notes
        self._segments = segments
        self._tally = Tally()
        self._open = contextlib.ExitStack()
        self._partial, self._handle = self._open.enter_context(temporary(notes.scratch))

    def write(self, piece: bytes) -> None:
        with explained(f"write artifact {self._name!r}"):
            self._handle.write(piece)
        self._tally.add(piece)

    def commit(self, expected: str | None = None) -> ArtifactInfo:
        self._tally.check(self._name, expected)
        with explained(f"write artifact {self._name!r}"):
            settle(self._handle)
            if not self._notes.commit(self._segments, self._tally.hex, self._partial, self._target):
                raise conflict(self._name)
        self.abort()
        return ArtifactInfo(self._name, is_folder=False, size=self._tally.size, digest=self._tally.digest)

    def abort(self) -> None:
        # What was buffered may not fit on the disk; the file goes all the same.
        with contextlib.suppress(OSError):
            self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class LocalReader:
    """An `ArtifactReader` of an open file."""

    def __init__(self, name: str, uri: str, stream: BinaryIO, seen: os.stat_result, accepted: Sequence[str]) -> None:
        self._uri = uri
        self._stream = stream
        self._seen = seen
        digest = accepted[0] if accepted else None
        if len(accepted) > 1:  # a writer was killed between two notes: only the bytes tell
            tally = Tally()
            while piece := stream.read(CHUNK):
                tally.add(piece)
            digest = tally.digest
            if digest not in accepted:
                stream.close()
                raise corrupt(name, uri, digest, accepted[0])
        self.info = ArtifactInfo(name, is_folder=False, size=seen.st_size, digest=digest)

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        stop = self.info.size if stop is None else stop
        raw = self._raw(start, stop)
        digest = self.info.digest
        if (start, stop) != (0, self.info.size) or digest is None or UNCHANGED.has(self._seen, digest):
            return raw
        return self._verified(raw, digest)

    def _verified(self, raw: Iterator[bytes], digest: str) -> Iterator[bytes]:
        yield from verified(raw, digest, self.info.name, self._uri)
        UNCHANGED.add(self._seen, os.fstat(self._stream.fileno()), digest)

    def _raw(self, start: int, stop: int | None) -> Iterator[bytes]:
        left = (stop or 0) - start
        with explained(f"read artifact {self.info.name!r}"):
            self._stream.seek(start)
            while left > 0 and (piece := self._stream.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _same_file(path: Path, seen: os.stat_result) -> bool:
    """Whether the file at `path` is still the one that was opened."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    return (now.st_ino, now.st_mtime_ns, now.st_size) == (seen.st_ino, seen.st_mtime_ns, seen.st_size)
