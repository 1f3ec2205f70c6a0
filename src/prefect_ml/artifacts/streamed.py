"""What every store of files does alike, given how it writes, reads and lists one."""

from __future__ import annotations

import shutil
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from prefect_ml.artifacts.durable import CHUNK, make_folder, settle, temporary
from prefect_ml.artifacts.explained import explained
from prefect_ml.artifacts.names import own_name
from prefect_ml.artifacts.sources import files_below, opened
from prefect_ml.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prefect_ml.artifacts.contract import ArtifactReader, ArtifactWriter
    from prefect_ml.entities import ArtifactInfo


class StreamedStore(ABC):
    """An `ArtifactStore` that puts and downloads through its writers and readers; memory stays flat."""

    @property
    @abstractmethod
    def uri(self) -> str: ...

    @abstractmethod
    def writer(self, name: str) -> ArtifactWriter: ...

    @abstractmethod
    def reader(self, name: str) -> ArtifactReader: ...

    @abstractmethod
    def list(self, name: str = "") -> Sequence[ArtifactInfo]: ...

    @abstractmethod
    def delete(self, name: str) -> None: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    def put(self, name: str, source: Path | bytes | BinaryIO) -> ArtifactInfo:
        with explained(f"write artifact {name!r}"), opened(source) as stream, self.writer(name) as writer:
            while piece := stream.read(CHUNK):
                writer.write(piece)
            return writer.commit()

    def put_folder(self, folder: Path, name: str = "") -> Sequence[ArtifactInfo]:
        """Write every file below `folder`; all of their names are checked before the first is written."""
        prefix = f"{name}/" if name else ""
        files = [(prefix + relative, path) for relative, path in files_below(Path(folder))]
        for full_name, _ in files:
            own_name(full_name)
        return [self.put(full_name, path) for full_name, path in files]

    def read(self, name: str) -> bytes:
        with explained(f"read artifact {name!r}"), self.reader(name) as reader:
            return b"".join(reader.pieces())

    def download(self, name: str, target: Path) -> Path:
        """Copy a file or folder ("" is the whole root); a new target comes into being at the end."""
        target = Path(target)
        with explained(f"download artifact {name!r}"):
            try:
                reader = self.reader(name) if name else None
            except NotFoundError:
                if not self.list(name):
                    raise
                reader = None
            if reader is None:
                self._download_folder(name, target)
            else:
                with reader:
                    _copy(reader, target)
        return target

    def _download_folder(self, name: str, target: Path) -> None:
        make_folder(target.parent)
        partial = target.parent / f".{target.name}.{uuid.uuid4().hex}.partial"
        try:
            make_folder(partial)
            for file_name in self._walk(name):
                with self.reader(file_name) as reader:
                    _copy(reader, partial / (file_name[len(name) + 1 :] if name else file_name))
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


def _copy(reader: ArtifactReader, target: Path) -> None:
    """Write a file beside its target, and rename it there once its last piece was verified."""
    with temporary(target.parent) as (partial, handle):
        for piece in reader.pieces():
            handle.write(piece)
        settle(handle)
        partial.replace(target)
