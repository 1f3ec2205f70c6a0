"""One process's journal of one run: a file that outlives the process, written in microseconds.

The writer copies into a shared mapping of space that is reserved beforehand. What is copied survives `kill
-9` of the process, no call gives up the interpreter's lock, and a full disk shows as an OSError when space
is reserved. Only the end of the file is mapped, so that a long journal takes no more memory than a short one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Self

import orjson

from prefect_ml.errors import CorruptArtifactError
from prefect_ml.tracking.frames import HEAD, MAGIC, PAGE, bad_bytes, frame, frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SUFFIX = ".journal"
_FIRST_STEP = 16 * PAGE
_LARGEST_STEP = 256 * PAGE
# Kept free for the last records of a run, so that a full disk does not hide that it was full.
_RESERVE = PAGE
_CHUNK = 64 * PAGE
_ATTEMPTS = 5


class JournalWriter:
    """Appends records; holds a lock on the file for as long as it is open, so that others know it is alive.

    Args:
        folder: where the journals of all runs are.
        run_id: the run.
        place: the store that it is recorded for, as `place_of` names it.

    Raises:
        OSError: the file cannot be made (no space, no permission).
    """

    def __init__(self, folder: Path, run_id: str, place: str = "") -> None:
        self.run_id = run_id
        self.journal_id = uuid.uuid4().hex
        self.path = folder / run_id / f"{self.journal_id}{SUFFIX}"
        self.pid = os.getpid()
        self.closed = False
        self.holds_start = False
        self._lock = threading.Lock()
        partial = self.path.with_suffix(".partial")
        self._file = _create(partial)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            reserve(self._file, 0, _FIRST_STEP)
            self._map = mmap.mmap(self._file, _FIRST_STEP)
            header = {"run_id": run_id, "journal_id": self.journal_id, "store": place}
            head, payload = frame(orjson.dumps(header))
            self._base, self._size, self._end = 0, _FIRST_STEP, len(MAGIC) + len(head) + len(payload)
            self._map[: self._end] = MAGIC + head + payload
            self._seen, self._idle_since = self._end, time.monotonic()
            partial.rename(self.path)
        except OSError:
            os.close(self._file)
            partial.unlink(missing_ok=True)
            raise

    @property
    def end(self) -> int:
        """Where the last record ends, in bytes from the start of the file."""
        return self._end

    def append(self, record: bytes, *, last: bool = False) -> bool:
        """Keep a record; False, and nothing is kept, when the journal is closed.

        Args:
            record: JSON.
            last: whether it may use the space that is kept for the end of a run.

        Raises:
            OSError: there is no space; nothing is kept.
        """
        head, payload = frame(record)
        with self._lock:
            if self.closed:
                return False
            start = self._end + len(head)
            end = start + len(payload)
            if end + (0 if last else _RESERVE) > self._size:
                self._grow(end + _RESERVE, needed=end if last else None)
            # The head makes the frame valid, so it comes last.
            base = self._base
            self._map[start - base : end - base] = payload
            self._map[self._end - base : start - base] = head
            self._end = end
        return True

    def close(self) -> None:
        """Let the lock go; later appends return False. Idempotent."""
        with self._lock:
            if not self.closed:
                self.closed = True
                self._map.close()
                os.close(self._file)

    def close_if_idle(self, seconds: float) -> bool:
        """Close when nothing was appended for a while, as earlier calls saw; whether it is closed now.

        The journal of the process that started the run stays open: it shows that the process lives.
        """
        if self._seen != self._end:
            # Told by who looks, now and then, and not by the hot path of who writes.
            self._seen, self._idle_since = self._end, time.monotonic()
        elif not self.holds_start and time.monotonic() - self._idle_since >= seconds:
            self.close()
        return self.closed

    def touch(self) -> None:
        """Give a sign of life, by the file's time of change, to those who will find it without its process."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def remove(self) -> None:
        """Close it and remove the file, when nothing of it was acknowledged."""
        self.close()
        self.path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """In a forked child: forget the parent's file without touching its lock."""
        if not self.closed:
            self.closed = True
            self._map.close()
            os.close(self._file)

    def _grow(self, wanted: int, *, needed: int | None) -> None:
        size = max(self._size + min(self._size, _LARGEST_STEP), wanted)
        size += -size % PAGE
        try:
            reserve(self._file, self._size, size - self._size)
        except OSError:
            if needed is not None and needed <= self._size:
                return
            raise
        base = self._end - self._end % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(self._file, size - base, offset=base)
        self._map.close()
        self._map, self._base, self._size = mapped, base, size


class JournalReader:
    """Reads a journal from any offset, while it is written or after; a context manager.

    Raises:
        FileNotFoundError: it is gone.
        CorruptArtifactError: its first bytes are no journal's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.run_id, self.journal_id, self.place = self._header()
        except CorruptArtifactError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._file)

    @property
    def size(self) -> int:
        """Of the file now, in bytes."""
        return os.fstat(self._file).st_size

    def read(self, start: int, most: int = _CHUNK) -> tuple[list[bytes], int]:
        """The records from the offset `start` (0, or where an earlier read ended), and where they end.

        Args:
            start: offset in bytes.
            most: how many bytes to read at most, except that one whole record is always read.
        """
        at = max(start, self._first)
        data = os.pread(self._file, most, at)
        if len(data) >= HEAD.size and (length := HEAD.unpack_from(data)[0]) + HEAD.size > len(data):
            data = os.pread(self._file, min(length + HEAD.size, os.fstat(self._file).st_size), at)
        found = list(frames(data))
        return [payload for _, payload in found], at + found[-1][0] if found else start

    def all(self) -> Iterator[bytes]:
        """Every valid record, read in pieces."""
        at = 0
        while True:
            records, at = self.read(at)
            if not records:
                return
            yield from records

    def bad_bytes(self, end: int) -> int:
        """How many bytes are lost or damaged, given where the last valid record ends.

        In the journal of a living writer the record that is being written may count.
        """
        at = max(end, self._first)
        return bad_bytes(os.pread(self._file, os.fstat(self._file).st_size, at), at)

    def _header(self) -> tuple[str, str, str]:
        data = os.pread(self._file, PAGE, 0)
        first = next(frames(data, len(MAGIC)), None) if data.startswith(MAGIC) else None
        if first is None:
            raise CorruptArtifactError(f"{str(self.path)!r} does not start like a journal; it cannot be delivered.")
        self._first, payload = first
        header = orjson.loads(payload)
        return header["run_id"], header["journal_id"], header["store"]


def _create(path: Path) -> int:
    """Open a new file; its folder is made again when another process found it empty and removed it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    for _ in range(_ATTEMPTS):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags, 0o600)
    return os.open(path, flags, 0o600)


def reserve(file: int, start: int, length: int) -> None:
    """Make sure that `length` bytes from `start` are on the disk and zero.

    Raises:
        OSError: there is no space.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, start, length)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
        else:
            return
    written = 0
    while written < length:
        written += os.pwrite(file, bytes(min(length - written, _CHUNK)), start + written)


def is_held(path: Path) -> bool:
    """Whether the journal's writer lives."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        _let_go(file)
    return False


def remove_if_abandoned(path: Path, delivered: int, before: Callable[[JournalReader], None] | None = None) -> bool:
    """Remove a journal that is delivered up to an offset, unless its writer lives or more has come.

    A journal with damage keeps its bytes for a person to look at, under the suffix `.damaged`.

    Args:
        path: the journal.
        delivered: offset in bytes.
        before: called before it is removed; when it raises, the journal stays.

    Returns:
        Whether its writer is gone.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        with JournalReader(path) as reader:
            if not reader.read(delivered)[0]:
                if before is not None:
                    before(reader)
                damaged = reader.bad_bytes(delivered) > 0
                path.rename(path.with_suffix(".damaged")) if damaged else path.unlink(missing_ok=True)
        return True
    finally:
        _let_go(file)


def _let_go(file: int) -> None:
    # Closing alone would leave the lock to a process that was forked meanwhile.
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)
