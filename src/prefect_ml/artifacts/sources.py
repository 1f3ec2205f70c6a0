"""What is put into a store: files, bytes, streams and folders of this machine."""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from prefect_ml.errors import InvalidNameError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def opened(source: Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    """A source as a stream; one that was open already stays open."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, (str, Path)):
        with Path(source).open("rb") as stream:
            yield stream
    else:
        yield source


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
