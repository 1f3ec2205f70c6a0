"""Writing files so that a reader, or a crash, finds the old one or the new one and never a part."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 1 << 20
FOLDER_MODE = 0o700
FILE_MODE = 0o600
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe would wait for its writer


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, readable by the owner alone."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(mode=FOLDER_MODE, exist_ok=True)


def open_to_read(path: Path) -> BinaryIO:
    """Open a regular file, never through a link in its last part; `OSError` for anything else."""
    descriptor = os.open(path, os.O_RDONLY | _NO_LINK | _NO_WAIT)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "This is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def copy_hashed(source: BinaryIO, target: BinaryIO) -> tuple[int, str]:
    """Copy to the end in chunks of 1 MiB; returns the size and the SHA-256 in hex."""
    digest = hashlib.sha256()
    size = 0
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        target.write(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


@contextmanager
def temporary(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file in `folder`, on disk when the body ends; deleted if it was not renamed away."""
    make_folder(folder)
    path = folder / f".{uuid.uuid4().hex}.partial"
    handle = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, FILE_MODE), "wb")
    try:
        with handle:
            yield path, handle
    finally:
        path.unlink(missing_ok=True)


def settle(handle: BinaryIO) -> None:
    """Bring what was written to the disk."""
    handle.flush()
    os.fsync(handle.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the folder's entries to the disk, so that a rename in it survives a power cut."""
    if os.name == "nt":  # Windows cannot open folders, and its rename is journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, scratch: Path) -> None:
    """Replace a small text file atomically."""
    with temporary(scratch) as (partial, handle):
        handle.write(text.encode())
        settle(handle)
        make_folder(path.parent)
        partial.replace(path)
