"""A model folder as the one file that SageMaker unpacks: the same bytes for the same model, wherever it is packed."""

from __future__ import annotations

import gzip
import tarfile
from typing import TYPE_CHECKING

from prefect_ml.artifacts.durable import open_to_read
from prefect_ml.artifacts.names import resolve, split_name
from prefect_ml.errors import InvalidNameError

if TYPE_CHECKING:
    from pathlib import Path

_MODE = 0o644


def pack(folder: Path, target: Path) -> None:
    """Write the files of a model folder as `tar.gz`: sorted, without times, owners, links and folders of their own.

    Raises:
        InvalidNameError: a name would lead elsewhere where it is unpacked, or is no regular file.
    """
    found = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in found:
            name = path.relative_to(folder).as_posix()
            split_name(name)
            try:
                stream = open_to_read(resolve(folder, name))
            except OSError as error:
                raise InvalidNameError(f"{name!r} in {str(folder)!r} is no regular file: {error}.") from error
            with stream:
                entry = tarfile.TarInfo(name)
                entry.size = path.stat().st_size
                entry.mode = _MODE
                archive.addfile(entry, stream)
