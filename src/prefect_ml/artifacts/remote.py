"""Artifacts in the other clouds, through fsspec.

These storages have no common place for a digest, so the digests of all that was ever written under a name lie beside
the file, each as the name of an empty object: written before the file, so that no crash leaves a file whose digest is
not among them, and deleted with it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.durable import CHUNK
from prefect_ml.artifacts.explained import conflict, explained
from prefect_ml.artifacts.names import HIDDEN, own_name, split_name
from prefect_ml.artifacts.spooled import SpooledWriter
from prefect_ml.artifacts.streamed import StreamedStore
from prefect_ml.artifacts.verified import ALGORITHM, Tally, VerifiedReader, corrupt
from prefect_ml.entities import ArtifactInfo
from prefect_ml.errors import ArtifactError, InvalidInputError, InvalidNameError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Google's and Microsoft's clouds, and the memory of this process; each other protocol of fsspec would reach places
# that nobody meant to be artifact roots.
SCHEMES = frozenset({"gs", "gcs", "abfs", "abfss", "az", "memory"})
_EXTRAS = {"gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}


def open_remote(uri: str) -> RemoteArtifactStore:
    """Open the store at `<scheme>://<bucket>/<folder>`; credentials are found by the scheme's library in its own ways.

    Raises:
        InvalidInputError: it is no such URI, or its scheme is not in `SCHEMES`.
        ArtifactError: the scheme's library is not installed.
    """
    import fsspec  # noqa: PLC0415 (slow to import)

    scheme, _, path = uri.partition("://")
    path = path.rstrip("/")
    if scheme.lower() not in SCHEMES or any(mark in path for mark in ("?", "#", "::")):
        raise InvalidInputError(
            f"Artifacts cannot be kept at {uri!r}: give a folder path, or a plain URL of "
            f"{', '.join(sorted({'file', 's3', *SCHEMES}))}."
        )
    try:
        split_name(path)
    except InvalidNameError as error:
        raise InvalidInputError(f"The artifact URI {uri!r} names no folder: {error}") from error
    try:
        files = fsspec.filesystem(scheme.lower(), use_listings_cache=False)
    except (ImportError, ValueError) as error:  # a protocol that its library would have registered is a ValueError
        package = _EXTRAS.get(scheme.lower(), scheme)
        raise ArtifactError(
            f"Artifacts at {scheme}:// need {package}, which is not installed; install it with: pip install {package}."
        ) from error
    return RemoteArtifactStore(f"{scheme.lower()}://{path}", files)


class RemoteArtifactStore(StreamedStore):
    """An `ArtifactStore` below a URL; `list` gives no digests.

    Args:
        uri: the root, without a slash at its end.
        files: fsspec's file system of it.
    """

    def __init__(self, uri: str, files: Any) -> None:
        self._uri = uri
        self._files = files
        self._root: str = files._strip_protocol(uri).rstrip("/")  # noqa: SLF001  fsspec's own way to a path

    @property
    def uri(self) -> str:
        return self._uri

    def writer(self, name: str) -> RemoteWriter:
        """Begin to write one file; it is collected on this machine and sent at the commit."""
        path = self._path(name)
        with explained(f"write artifact {name!r}"):
            if self._files.isdir(path) or any(self._files.isfile(parent) for parent in self._parents(name)):
                raise conflict(name)
        return RemoteWriter(self._files, path, name)

    def reader(self, name: str) -> RemoteReader:
        path = self._path(name)
        with explained(f"read artifact {name!r}"):
            if not self._files.isfile(path):
                raise NotFoundError(f"There is no artifact {name!r} in {self._uri}.")
            size = self._files.size(path)
            return RemoteReader(self._files, path, ArtifactInfo(name, is_folder=False, size=size), self._uri)

    def list(self, name: str = "") -> Sequence[ArtifactInfo]:
        path = self._path(name) if name else self._root
        try:
            with explained(f"list artifacts {name!r}"):
                entries = self._files.ls(path, detail=True)
        except NotFoundError:
            return []
        found = [self._describe(name, entry, path) for entry in entries]
        return sorted((info for info in found if info is not None), key=lambda info: info.name)

    def delete(self, name: str) -> None:
        path = self._path(name)
        with explained(f"delete artifact {name!r}"):
            for each in (path, notes_of(path)):
                with contextlib.suppress(FileNotFoundError):
                    self._files.rm(each, recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{'/'.join(own_name(name))}"

    def _parents(self, name: str) -> Iterator[str]:
        segments = name.split("/")
        for depth in range(1, len(segments)):
            yield f"{self._root}/{'/'.join(segments[:depth])}"

    def _describe(self, folder: str, entry: dict[str, Any], path: str) -> ArtifactInfo | None:
        """The entry of a listing; None for what has no name here, and for the listed place itself."""
        place = str(entry["name"]).rstrip("/")
        base = place.rpartition("/")[2]
        name = f"{folder}/{base}" if folder else base
        if place.strip("/") == path.strip("/"):
            return None
        try:
            own_name(name)
        except InvalidNameError:
            return None
        if entry["type"] == "directory":
            return ArtifactInfo(name, is_folder=True)
        return ArtifactInfo(name, is_folder=False, size=entry["size"])


class RemoteWriter(SpooledWriter):
    """An `ArtifactWriter` of a file of fsspec."""

    def __init__(self, files: Any, path: str, name: str) -> None:
        super().__init__(name)
        self._files = files
        self._path = path

    def _publish(self, path: Path, tally: Tally) -> ArtifactInfo:
        notes = notes_of(self._path)
        self._files.makedirs(notes, exist_ok=True)
        self._files.pipe_file(f"{notes}/{tally.hex}", b"")
        self._files.put_file(str(path), self._path)
        return ArtifactInfo(self._name, is_folder=False, size=tally.size, digest=tally.digest)


class RemoteReader(VerifiedReader):
    """An `ArtifactReader` of a file of fsspec."""

    def __init__(self, files: Any, path: str, info: ArtifactInfo, uri: str) -> None:
        self._uri = uri
        self._stream = files.open(path, "rb", block_size=CHUNK, cache_type="readahead")
        try:
            noted = [entry.rpartition("/")[2] for entry in files.ls(notes_of(path), detail=False)]
        except FileNotFoundError:
            noted = []
        accepted = [f"{ALGORITHM}{each}" for each in noted]
        digest = accepted[0] if accepted else None
        if len(accepted) > 1:  # it was replaced at some time: only the bytes tell by which
            digest = self._digest()
            if digest not in accepted:
                raise corrupt(info.name, uri, digest, " or ".join(accepted))
        self.info = ArtifactInfo(info.name, is_folder=False, size=info.size, digest=digest)

    def _raw(self, start: int, stop: int) -> Iterator[bytes]:
        with explained(f"read artifact {self.info.name!r}"):
            self._stream.seek(start)
            while start < stop and (piece := self._stream.read(min(CHUNK, stop - start))):
                start += len(piece)
                yield piece

    def _digest(self) -> str:
        tally = Tally()
        while piece := self._stream.read(CHUNK):
            tally.add(piece)
        return tally.digest

    def close(self) -> None:
        self._stream.close()


def notes_of(path: str) -> str:
    """The folder that holds the digests of a file."""
    folder, _, base = path.rpartition("/")
    return f"{folder}/{HIDDEN}/digests/{base}"
