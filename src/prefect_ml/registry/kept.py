"""What gates keep in the cache, bounded: what was not used for longest goes first."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from pathlib import Path

# The most bytes that stay in a folder.
MOST_BYTES = 20 << 30
# Seconds: what was not used for so long goes, and what was used since is in use, so it stays however much there is.
UNUSED = 30 * 86_400
IN_USE = 86_400
# In an environment it is made last, and tells that it is whole.
COMPLETE = "complete"
_PARTIAL = ".partial"


def noted(path: Path) -> bool:
    """Whether something is kept, as a file or as a folder with its mark; notes that it is used now."""
    try:
        os.utime(path / COMPLETE if path.is_dir() else path)
    except FileNotFoundError:
        return False
    return True


def forget_unused(folder: Path) -> None:
    """Remove from a folder what was not used for long, and of the rest the least recently used, beyond its size.

    What killed processes left half made goes as well. Several processes may do it at once, and beside others that use
    what is there.
    """
    kept = sorted(((_last_use(path), path) for path in folder.iterdir()), reverse=True)
    size = 0
    for used, path in kept:
        age = time.time() - used
        if path.name.startswith(".") and not path.name.endswith(_PARTIAL):
            continue
        size += _size(path)
        old = path.name.endswith(_PARTIAL) or age > UNUSED or size > MOST_BYTES
        if old and age > IN_USE and time.time() - _last_use(path) > IN_USE:
            _remove(path)


def _last_use(path: Path) -> float:
    """When something was used last, in seconds since the epoch; now when it is gone."""
    for each in (path / COMPLETE, path):
        with contextlib.suppress(OSError):
            return each.stat().st_mtime
    return time.time()


def _size(path: Path) -> int:
    """The bytes of a file, or of all below a folder."""
    size = 0
    for parent, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(parent, name).lstat().st_size
    with contextlib.suppress(OSError):
        size += path.lstat().st_size
    return size


def _remove(path: Path) -> None:
    """At once for whoever looks, although it takes a while."""
    gone = path.with_name(f".{uuid.uuid4().hex}{_PARTIAL}")
    with contextlib.suppress(OSError):
        path.replace(gone)
    if gone.is_dir() and not gone.is_symlink():
        shutil.rmtree(gone, ignore_errors=True)
    else:
        gone.unlink(missing_ok=True)
