"""Files of an origin: in an artifact store, or in a folder that another program wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from prefect_ml.artifacts.contract import ArtifactStore
from prefect_ml.artifacts.durable import CHUNK
from prefect_ml.artifacts.explained import explained
from prefect_ml.artifacts.names import resolve
from prefect_ml.entities import ArtifactInfo
from prefect_ml.errors import InvalidNameError


class StoredFiles:
    """`Files` in an artifact store, verified while they are read."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def infos(self) -> Iterator[ArtifactInfo]:
        return walk(self._artifacts)

    def pieces(self, name: str) -> Iterator[bytes]:
        with self._artifacts.reader(name) as reader:
            yield from reader.pieces()


class FolderFiles:
    """`Files` in a plain folder, whose names nobody checked yet; links are not followed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def infos(self) -> Iterator[ArtifactInfo]:
        for parent, folders, names in os.walk(self._root):
            folders.sort()
            for entry in sorted(names) + [name for name in folders if Path(parent, name).is_symlink()]:
                path = Path(parent, entry)
                name = path.relative_to(self._root).as_posix()
                yield ArtifactInfo(name, is_folder=False, size=path.lstat().st_size)

    def pieces(self, name: str) -> Iterator[bytes]:
        path = resolve(self._root, name)
        if not path.is_file():
            raise InvalidNameError(f"{str(path)!r} is no regular file; replace it by a plain file.")
        with explained(f"read {str(path)!r}"), path.open("rb") as stream:
            while piece := stream.read(CHUNK):
                yield piece


def walk(artifacts: ArtifactStore, name: str = "") -> Iterator[ArtifactInfo]:
    """Every file below a folder of an artifact store."""
    for info in artifacts.list(name):
        if info.is_folder:
            yield from walk(artifacts, info.name)
        else:
            yield info
