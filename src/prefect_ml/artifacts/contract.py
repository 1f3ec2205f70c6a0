"""The port of the artifact rooms: what a store of files promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from prefect_ml.entities import ArtifactInfo


class ArtifactWriter(Protocol):
    """One file that is being written in pieces; a context manager that aborts what was not committed."""

    def write(self, piece: bytes) -> None:
        """Add the next bytes; memory does not grow with the file."""
        ...

    def commit(self, expected: str | None = None) -> ArtifactInfo:
        """Publish the file, whole and at once, in the place of an older one; the writer is spent then.

        Args:
            expected: the digest ("sha256:<hex>") that the sender computed.

        Raises:
            InvalidInputError: what was written has another digest than `expected`; nothing is published.
        """
        ...

    def abort(self) -> None:
        """Leave nothing of it behind; harmless when repeated and after a commit."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class ArtifactReader(Protocol):
    """One file that is open for reading: the same version of it until the end, whoever replaces it meanwhile."""

    @property
    def info(self) -> ArtifactInfo:
        """Name, size and digest; the digest is None when none was recorded."""
        ...

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `stop` (the end by default), at most 1 MiB at a time.

        A file that is read whole is verified while its bytes are handed out: the last piece is held back until the
        digest of all of them is known, so a file of one piece is verified before its first byte is out, and of a
        longer one that is corrupt the reader never gets the end. Whoever passes the bytes on must then break off
        without an orderly end. A part of a file cannot be verified alone: that is up to who puts the parts together.
        A file of this machine that was found right is hashed again only when it has changed since.

        Raises:
            CorruptArtifactError: at the end, in place of the last piece.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class ArtifactStore(Protocol):
    """Files below one root, named by relative POSIX paths.

    Every method refuses a name that is absolute, empty where a file is meant, or would leave the root
    (`InvalidNameError`). A write is atomic: a reader sees the old file or the new one, never a part. The
    SHA-256 of each file is kept when it is written and verified when it is read (`CorruptArtifactError`).
    """

    @property
    def uri(self) -> str:
        """The root, as `open_artifacts` takes it."""
        ...

    def writer(self, name: str) -> ArtifactWriter:
        """Begin to write one file in pieces; nothing of it can be read before its commit."""
        ...

    def reader(self, name: str) -> ArtifactReader:
        """Open one file; `NotFoundError` when there is none, also when it is a folder."""
        ...

    def put(self, name: str, source: Path | bytes | BinaryIO) -> ArtifactInfo:
        """Write one file from a path, bytes or an open binary file; replaces a file of that name."""
        ...

    def put_folder(self, folder: Path, name: str = "") -> Sequence[ArtifactInfo]:
        """Write every file below `folder` under `name`; links that leave `folder` are refused."""
        ...

    def read(self, name: str) -> bytes:
        """The verified bytes of a file; `NotFoundError` when there is none."""
        ...

    def download(self, name: str, target: Path) -> Path:
        """Copy a file, or a folder with all below it, to `target`, verified; returns `target`."""
        ...

    def list(self, name: str = "") -> Sequence[ArtifactInfo]:
        """What lies directly below a folder, sorted by name; [] when there is nothing.

        The digests are None where each would cost a request of its own.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a file or a folder with all below it; the root itself is never deleted. Idempotent."""
        ...


class DirectRequest(NamedTuple):
    """A request that a client may send to the storage itself, without credentials, for a quarter of an hour."""

    url: str
    headers: Mapping[str, str]


class DirectPart(NamedTuple):
    """A part of a file that a client sent to the storage itself; numbers count from 1."""

    number: int
    etag: str


@runtime_checkable
class DirectTransfer(Protocol):
    """What a store can do besides when clients may reach its storage themselves, past the server.

    A file that came this way has no digest of ours.
    """

    def begin_direct(self, name: str, parts: int) -> tuple[str, Sequence[DirectRequest]]:
        """Begin to write a file in so many parts; returns the upload's id and a PUT request for each part."""
        ...

    def complete_direct(self, name: str, upload_id: str, parts: Sequence[DirectPart]) -> None:
        """Publish the file; `InvalidInputError` when the upload or a part is not there."""
        ...

    def abort_direct(self, name: str, upload_id: str) -> None:
        """Leave nothing of it behind; harmless when repeated."""
        ...

    def direct_download(self, name: str) -> tuple[DirectRequest, int]:
        """The GET request for a file, and the file's size in bytes; `NotFoundError` when there is none."""
        ...
