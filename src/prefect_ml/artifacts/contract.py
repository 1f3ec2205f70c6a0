"""The port of the artifact rooms: what a store of files promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from prefect_ml.entities import ArtifactInfo


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
        """What lies directly below a folder, sorted by name; [] when there is nothing."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file or a folder with all below it; the root itself is never deleted. Idempotent."""
        ...
