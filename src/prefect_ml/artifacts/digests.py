"""The digests of a local store's files, kept in a hidden tree that mirrors the visible one.

A file and its digest cannot be replaced in one step. So the note beside a file may list two digests: while a
file is replaced, first the note names the new and the old one, then the file is renamed, then the note names
the new one alone. Wherever a crash falls, the file there has a digest that its note names. A lock file orders
writers of one root.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect_ml.artifacts.durable import FILE_MODE, make_folder, sync_folder, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

HIDDEN = ".prefect-ml"


class DigestNotes:
    """Digests by artifact name below `<root>/.prefect-ml/digests`; `scratch` is where partial files live."""

    def __init__(self, root: Path) -> None:
        self._folder = root / HIDDEN / "digests"
        self._lock = root / HIDDEN / "lock"
        self.scratch = root / HIDDEN / "partial"

    def accepted(self, segments: tuple[str, ...]) -> tuple[str, ...]:
        """The digests (hex) that the file may have, the newest first; empty when none was recorded."""
        note = self._folder.joinpath(*segments)
        try:
            return tuple(note.read_text().split())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return ()

    def commit(self, segments: tuple[str, ...], digest: str, partial: Path, target: Path) -> None:
        """Rename `partial` to `target` with its digest noted, whenever a crash comes."""
        note = self._folder.joinpath(*segments)
        with self._locked():
            before = self.accepted(segments) if target.exists() else ()
            self._make_way(note)
            write_text(note, "\n".join((digest, *before)), self.scratch)
            sync_folder(note.parent)
            partial.replace(target)
            sync_folder(target.parent)
            if before:
                write_text(note, digest, self.scratch)

    def forget(self, segments: tuple[str, ...]) -> None:
        """Drop the note of a file, or all notes of a folder; the file itself must be gone."""
        note = self._folder.joinpath(*segments)
        with self._locked():
            if note.is_dir():
                shutil.rmtree(note)
            else:
                note.unlink(missing_ok=True)

    def _make_way(self, note: Path) -> None:
        """Remove notes of what is gone: of a folder where a file comes, of a file where a folder comes."""
        if note.is_dir():
            shutil.rmtree(note)
        for parent in note.relative_to(self._folder).parents:
            if (self._folder / parent).is_file():
                (self._folder / parent).unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_folder(self._lock.parent)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, FILE_MODE)
        try:
            if sys.platform == "win32":
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # closing gives the lock back
