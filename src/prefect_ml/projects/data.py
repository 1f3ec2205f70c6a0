"""Digests of the files that parameters name, by which a later run can tell whether it has the same data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.projects.definition import EntryPoint

# Larger files are told by their size alone, which costs a start nothing.
_MOST_BYTES = 1 << 30


def data_digests(entry_point: EntryPoint, values: Mapping[str, str]) -> dict[str, str]:
    """Of each parameter of type `path` that is a file: `sha256:<hex>`, or `size:<bytes>` of one over 1 GiB."""
    found = {}
    for name, parameter in entry_point.parameters.items():
        path = Path(values.get(name, ""))
        if parameter.type != "path" or not path.is_file():
            continue
        size = path.stat().st_size
        if size > _MOST_BYTES:
            found[name] = f"size:{size}"
            continue
        with path.open("rb") as stream:
            found[name] = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    return found
