"""Running a command to its end: its lines as they come, its exit code, and nothing of it left when it is stopped."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from prefect_ml.projects import guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import ModuleType

# A longer line is told in pieces.
_MOST_LINE = 16_384
_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; 128 and a signal's number when that ended it.
    """

    code: int

    @property
    def signal(self) -> int | None:
        """The signal that ended it, as far as an exit code tells."""
        return self.code - _SIGNALLED if self.code > _SIGNALLED else None


def run_command(
    words: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
    grace: float = 10.0,
    begun: Callable[[], object] | None = None,
) -> Ended:
    """Run a command; whatever ends this call, or this process, also ends all that the command started.

    Args:
        words: program and arguments.
        folder: its working directory.
        environment: all of its variables.
        tell: gets each line that it writes to its standard output or error, without the line's end.
        grace: seconds between the request to stop (SIGTERM) and the kill.
        begun: called as soon as the command is on its way.
    """
    # -S and -I: nothing of the environment or of the folder is imported into the guard.
    argv = [sys.executable, "-I", "-S", _compiled(guard), str(grace), *words]
    process = subprocess.Popen(  # noqa: S603 - an argument vector
        argv, cwd=folder, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True, bufsize=0,
    )  # fmt: skip
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    assert process.stdin is not None  # noqa: S101
    try:
        if begun is not None:
            begun()
        for line in _lines(process.stdout):
            tell(line)
        code = process.wait()
    except BaseException:
        _stop(process)
        # What it says while it ends is worth a line, too, and nobody else empties the pipe.
        with contextlib.suppress(Exception):
            for line in _lines(process.stdout):
                tell(line)
        process.wait()
        raise
    finally:
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    return Ended(code)


def _compiled(module: ModuleType) -> str:
    """The file of a module, compiled where the import of it has left that."""
    cached = getattr(module, "__cached__", None)
    return str(cached if cached is not None and Path(cached).is_file() else module.__file__)


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None  # noqa: S101
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b"s")


def _lines(stream: IO[bytes]) -> Iterator[str]:
    kept = b""
    while True:
        # Not for ever in one call, so that what is raised in this thread from elsewhere reaches it.
        if not select.select([stream], [], [], 0.5)[0]:
            continue
        if not (piece := os.read(stream.fileno(), 65_536)):
            break
        *whole, kept = (kept + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            yield from _pieces(line)
        while len(kept) > _MOST_LINE:
            yield kept[:_MOST_LINE].decode("utf-8", "replace")
            kept = kept[_MOST_LINE:]
    if kept:
        yield from _pieces(kept)


def _pieces(line: bytes) -> Iterator[str]:
    text = line.decode("utf-8", "replace")
    yield from (text[at : at + _MOST_LINE] for at in range(0, len(text) or 1, _MOST_LINE))


class Tail:
    """The lines of a command, kept up to a size: the first and the last of them.

    Args:
        most: characters that are kept.
    """

    def __init__(self, most: int = 4 << 20) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._first: list[str] = []
        self._last: list[str] = []
        self._size = [0, 0]
        self.left_out = 0

    def add(self, line: str) -> None:
        """Keep a line, for as long as there is room."""
        with self._lock:
            if self._size[0] + len(line) < self._most // 2:
                self._first.append(line)
                self._size[0] += len(line) + 1
                return
            self._last.append(line)
            self._size[1] += len(line) + 1
            if self._size[1] > self._most:
                self._drop()

    def _drop(self) -> None:
        kept, at = 0, len(self._last)
        while at and kept + len(self._last[at - 1]) < self._most // 2:
            at -= 1
            kept += len(self._last[at]) + 1
        self.left_out += at
        del self._last[:at]
        self._size[1] = kept

    def text(self) -> str:
        """All that is kept, with a line about what is not."""
        with self._lock:
            gap = [f"... {self.left_out} lines left out ..."] if self.left_out else []
            return "\n".join([*self._first, *gap, *self._last, ""])
