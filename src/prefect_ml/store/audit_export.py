"""The audit log in a file: JSON lines in order, and the head of the chain as the last line.

A chain that was rewritten as a whole is sound in itself; what it was before stands only in what was taken elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.durable import open_to_read, settle, sync_folder, temporary
from prefect_ml.entities import AuditEntry
from prefect_ml.errors import AlreadyExistsError, CorruptArtifactError, InvalidInputError, NotFoundError, TamperedError
from prefect_ml.store.audit import hash_of_entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from prefect_ml.store.promotion_contract import PromotionStore

_PAGE = 1000
_HEAD = "head"


def export_audit(store: PromotionStore, path: Path, after: int = 0) -> tuple[int, int]:
    """Write the log into a file for its owner alone, which is there as a whole or not at all.

    A file that is there from an earlier export is continued from its end, once it is found to be whole.

    Args:
        store: whose log.
        path: of the file.
        after: begin a new file after the row of this sequence number.

    Returns:
        How many rows were added, and the sequence number of the last one in the file.

    Raises:
        AlreadyExistsError: `after` is given, and the file is there.
        NotFoundError: the log has no row of that number.
        CorruptArtifactError: the file, or the log, is not whole.
        TamperedError: the log does not continue the file.
    """
    if after and path.exists():
        raise AlreadyExistsError(f"{path} is there already; name a new file, or continue it without --after.")
    with temporary(path.absolute().parent) as (partial, target):
        if path.exists():
            sequence, previous = _copied(path, target)
            _check_same(store, path, sequence, previous)
        else:
            sequence, previous = after, _hash_at(store, after)
        first = sequence
        for entry in _entries(store, sequence):
            if (entry.sequence, entry.previous_hash) != (sequence + 1, previous) or hash_of_entry(entry) != entry.hash:
                raise CorruptArtifactError(
                    f"The audit log is broken at row {sequence + 1}; nothing was exported. See what it is with: "
                    "prefect-ml audit verify"
                )
            target.write(_line(dataclasses.asdict(entry)))
            sequence, previous = entry.sequence, entry.hash
        target.write(_line({_HEAD: {"sequence": sequence, "hash": previous}}))
        settle(target)
        partial.replace(path)
    sync_folder(path.absolute().parent)
    return sequence - first, sequence


def compare_audit(store: PromotionStore, path: Path) -> int:
    """Compare the log with what an export has of it, and return how many rows that is.

    Raises:
        CorruptArtifactError: the file is no whole export.
        TamperedError: a row of the log is another one now, or is gone.
    """
    compared = sequence = 0
    previous: str | None = None
    known: Iterator[AuditEntry] = iter(())
    for entry in _kept(path):
        if isinstance(entry, AuditEntry):
            if previous is None:
                known = _entries(store, entry.sequence - 1)
            found = next(known, None)
            sequence, previous = entry.sequence, entry.hash
            compared += 1
            if found is None or found.hash != entry.hash:
                raise _rewritten(path, sequence, gone=found is None)
        elif previous is None:
            _check_same(store, path, *entry)
    return compared


def _entries(store: PromotionStore, after: int) -> Iterator[AuditEntry]:
    while page := store.audit(after=after, max_results=_PAGE):
        yield from page
        after = page[-1].sequence


def _copied(path: Path, target: BinaryIO) -> tuple[int, str]:
    """Copy all rows of an export; the head of its chain."""
    for entry in _kept(path):
        if not isinstance(entry, AuditEntry):
            return entry
        target.write(_line(dataclasses.asdict(entry)))
    raise AssertionError("unreachable: an export ends with its head")


def _kept(path: Path) -> Iterator[AuditEntry | tuple[int, str]]:
    """The rows of an export, each checked against its hash and the one before it, and its head."""
    previous: tuple[int, str] | None = None
    with _opened(path) as handle:
        for number, line in enumerate(handle, 1):
            entry = _read(line)
            if isinstance(entry, AuditEntry):
                follows = previous is None or (entry.sequence - 1, entry.previous_hash) == previous
                if not follows or hash_of_entry(entry) != entry.hash:
                    raise _no_export(path, number)
                previous = entry.sequence, entry.hash
                yield entry
            elif entry is None or (previous is not None and entry != previous) or handle.readline():
                raise _no_export(path, number)
            else:
                yield entry
                return
    raise _no_export(path, None)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        handle = open_to_read(path)
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {path}; write one with: prefect-ml audit export {path}") from None
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    with handle:
        yield handle


def _read(line: bytes) -> AuditEntry | tuple[int, str] | None:
    """A line of an export: a row or the head; None for what is neither."""
    try:
        said: Any = json.loads(line)
        if isinstance(said, dict) and set(said) == {_HEAD}:
            return int(said[_HEAD]["sequence"]), str(said[_HEAD]["hash"])
        entry = AuditEntry(**said)
        return entry if type(entry.sequence) is int else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _hash_at(store: PromotionStore, sequence: int) -> str:
    """The hash of a row of the log; "" before the first one."""
    if sequence == 0:
        return ""
    found = store.audit(after=sequence - 1, max_results=1)
    if not found or found[0].sequence != sequence:
        raise NotFoundError(f"The audit log has no row {sequence}; see the last ones with: prefect-ml audit list")
    return found[0].hash


def _check_same(store: PromotionStore, path: Path, sequence: int, expected: str) -> None:
    try:
        found = _hash_at(store, sequence)
    except NotFoundError:
        raise _rewritten(path, sequence, gone=True) from None
    if found != expected:
        raise _rewritten(path, sequence, gone=False)


def _rewritten(path: Path, sequence: int, *, gone: bool) -> TamperedError:
    what = "is gone" if gone else "is not what it was"
    return TamperedError(
        f"The audit log was rewritten: row {sequence} {what} when {path} was written. Trust the file, and restore the "
        "store from a backup of that time; or the file is of another store."
    )


def _no_export(path: Path, number: int | None) -> CorruptArtifactError:
    where = "its end is missing" if number is None else f"line {number} was changed or is not in its place"
    return CorruptArtifactError(f"{path} is no whole export of an audit log: {where}. Use another copy of it.")
