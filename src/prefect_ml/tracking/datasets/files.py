"""Files and folders on this machine.

Of a file its size and up to 64 blocks of 16 KiB count, the first and the last among them, so a file of up to a MiB
counts wholly; of a longer one, a change that keeps the size and lies between blocks escapes. Of a folder the names and
sizes of all files count (of the first 10,000 in the order of their names, when there are more) and up to a MiB of the
content of 32 of them. Neither times nor permissions count. Where a library is loaded that reads Parquet files, its
footer tells columns and rows.
"""

from __future__ import annotations

import importlib
import os
import sys
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from prefect_ml.errors import InvalidInputError
from prefect_ml.tracking.datasets import csv
from prefect_ml.tracking.datasets.facts import Facts
from prefect_ml.tracking.datasets.sampling import Fingerprint, positions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK: Final = 16_384
_MOST_BLOCKS: Final = 64
_MOST_FILES: Final = 10_000
_MOST_READ: Final = 32


class _Contents(NamedTuple):
    """What stands in a file: MLflow's JSON of its columns, and the number of rows when it is known."""

    columns: list[dict[str, object]] | None = None
    rows: int | None = None


def describe(path: Path) -> Facts:
    """The facts of a file or folder.

    Raises:
        InvalidInputError: it is neither.
        OSError: it cannot be read.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise InvalidInputError(f"There is no file or folder {str(path)!r}.")
    size = path.stat().st_size
    fingerprint = Fingerprint("file")
    _add(fingerprint, path, size, _MOST_BLOCKS)
    contents, unread = _contents(path, size)
    columns = None if contents.columns is None else len(contents.columns)
    return Facts(
        kind="file",
        digest=fingerprint.digest,
        columns=contents.columns,
        rows=contents.rows,
        columns_count=columns,
        elements=None if contents.rows is None or columns is None else contents.rows * columns,
        size=size,
        unread=unread,
    )


def _add(fingerprint: Fingerprint, path: Path, size: int, most: int) -> None:
    fingerprint.add(size)
    with path.open("rb", buffering=0) as file:
        for block in positions(-(-size // BLOCK), most):
            file.seek(block * BLOCK)
            fingerprint.add_bytes(file.read(BLOCK))


def _folder(path: Path) -> Facts:
    files = sorted(islice(_files(path), _MOST_FILES))
    fingerprint = Fingerprint("folder")
    fingerprint.add(len(files))
    for name, size in files:
        fingerprint.add(name, size)
    read = positions(len(files), _MOST_READ)
    unread = []
    for name, size in (files[at] for at in read):
        try:
            _add(fingerprint, path / name, size, _MOST_BLOCKS // max(len(read), 1))
        except OSError:
            unread.append(name)
    return Facts(
        kind="folder",
        digest=fingerprint.digest,
        size=sum(size for _, size in files),
        more={"num_files": len(files)},
        unread=unread,
    )


def _files(path: Path) -> Iterator[tuple[str, int]]:
    """Names below a folder, with slashes, and sizes; in the same order always, links not followed."""
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            whole = os.path.join(folder, name)  # noqa: PTH118  a Path for each of many files takes long
            yield os.path.relpath(whole, path).replace(os.sep, "/"), os.lstat(whole).st_size


def _contents(path: Path, size: int) -> tuple[_Contents, list[str]]:
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            return _Contents(*csv.read_head(path, size, "\t" if suffix == ".tsv" else ",")), []
        if suffix in (".parquet", ".pq"):
            return _parquet(path), []
    except Exception as error:  # noqa: BLE001  a reader may raise anything at a damaged file
        return _Contents(), [f"its columns ({error})"]
    return _Contents(), []


def _parquet(path: Path) -> _Contents:
    """What the footer tells, when pyarrow is loaded: it is not imported for this."""
    if "pyarrow" not in sys.modules:
        return _Contents()
    parquet = importlib.import_module("prefect_ml.tracking.datasets.parquet")
    return _Contents(*parquet.read_footer(path))
