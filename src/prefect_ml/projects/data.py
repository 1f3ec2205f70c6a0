"""Digests of the files that parameters name, by which a later run can tell whether it has the same data."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.projects.definition import EntryPoint

# Larger files are told by their size, which costs a start nothing.
_MOST_BYTES = 1 << 30


def data_digests(entry_point: EntryPoint, values: Mapping[str, str]) -> dict[str, str]:
    """Of each parameter of type `path` that is a file: `sha256:<hex>`, or `size:<bytes>` of one over 1 GiB."""
    found = {}
    for name, parameter in entry_point.parameters.items():
        path = Path(values.get(name, ""))
        if parameter.type == "path" and path.is_file():
            found[name] = _digest(path) or f"size:{path.stat().st_size}"
    return found


def content_of(path: Path) -> str:
    """What is in a file or a folder, as text that differs when it does; of a file over 1 GiB also when it was written.

    So such a file may seem to have changed when it has not, and never the other way round.
    """
    if path.is_dir():
        told = [f"{name}\0{content_of(path / name)}\0" for name in _files_below(path)]
        return f"folder:{hashlib.sha256(''.join(told).encode('utf-8', 'surrogateescape')).hexdigest()}"
    about = path.stat()
    return _digest(path) or f"size:{about.st_size}:{about.st_mtime_ns}"


def _files_below(folder: Path) -> list[str]:
    walked = ((Path(root) / name for name in names) for root, _, names in os.walk(folder))
    return sorted(path.relative_to(folder).as_posix() for paths in walked for path in paths if path.is_file())


def _digest(path: Path) -> str | None:
    """None for a file over 1 GiB."""
    with path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size > _MOST_BYTES:
            return None
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
