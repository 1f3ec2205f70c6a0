"""The digests of a local store's files, kept in a hidden tree that mirrors the visible one.

A file and its digest cannot be replaced in one step. So the note beside a file may list two digests: while a
file is replaced, first the note names the new and the old one, then the file is renamed, then the note names
the new one alone. Wherever a crash falls, the file there has a digest that its note names. A lock file orders
writers of one root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect_ml.artifacts.durable import FILE_MODE, make_folder, sync_folder, write_text
from prefect_ml.artifacts.names import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# A writer that lives adds to its partial file; one that has not for a day is dead.
_ABANDONED = 24 * 3600


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

    def commit(self, segments: tuple[str, ...], digest: str, partial: Path, target: Path) -> bool:
        """Rename `partial` to `target` with its digest noted, whenever a crash comes.

        False, with nothing done, when a folder has that name or a file the name of a folder above it.
        """
        note = self._folder.joinpath(*segments)
        with self._locked():
            if target.is_dir() or any(parent.is_file() for parent in target.parents):
                return False
            make_folder(target.parent)
            before = self.accepted(segments) if target.exists() else ()
            self._make_way(note)
            write_text(note, "\n".join((digest, *before)), self.scratch)
            sync_folder(note.parent)
            partial.replace(target)
            sync_folder(target.parent)
            if before:
                write_text(note, digest, self.scratch)
        return True

    def delete(self, segments: tuple[str, ...], target: Path) -> None:
        """Delete a file or folder, and then its notes; a crash in between leaves notes of nothing."""
        note = self._folder.joinpath(*segments)
        # Without notes there is nobody to wait for; with them, those of a root above would be looked for here.
        with self._locked() if self._lock.parent.is_dir() else contextlib.nullcontext():
            for path in (target, note):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    # A name below a file is a name of nothing.
                    with contextlib.suppress(NotADirectoryError):
                        path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what writers left that were killed a day ago or earlier."""
        with contextlib.suppress(FileNotFoundError):
            for path in self.scratch.iterdir():
                with contextlib.suppress(FileNotFoundError):  # another writer sweeps too, or finishes
                    if time.time() - path.lstat().st_mtime > _ABANDONED:
                        path.unlink()

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
            if sys.platform != "win32":
                # Closing alone would leave it to a process that was forked meanwhile.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)  # which gives it back on Windows
