"""Writing a file to where it cannot be written piece by piece: collected on this machine, and sent as a whole."""

from __future__ import annotations

import contextlib
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Self

from prefect_ml.artifacts.durable import settle, temporary
from prefect_ml.artifacts.explained import explained
from prefect_ml.artifacts.verified import Tally

if TYPE_CHECKING:
    from prefect_ml.entities import ArtifactInfo


class SpooledWriter(ABC):
    """An `ArtifactWriter` that collects a file in the temporary folder of this machine."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tally = Tally()
        self._open = contextlib.ExitStack()
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="prefect-ml-")))
        self._partial, self._handle = self._open.enter_context(temporary(folder))

    @abstractmethod
    def _publish(self, path: Path, tally: Tally) -> ArtifactInfo:
        """Send the whole file, which lies at a path here."""

    def write(self, piece: bytes) -> None:
        with explained(f"write artifact {self._name!r}"):
            self._handle.write(piece)
        self._tally.add(piece)

    def commit(self, expected: str | None = None) -> ArtifactInfo:
        self._tally.check(self._name, expected)
        with explained(f"write artifact {self._name!r}"):
            settle(self._handle)
            info = self._publish(self._partial, self._tally)
        self.abort()
        return info

    def abort(self) -> None:
        # What was buffered may not fit on the disk; the file goes all the same.
        with contextlib.suppress(OSError):
            self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()
