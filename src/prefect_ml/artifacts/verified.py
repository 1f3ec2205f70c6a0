"""Digests: computed while a file is written, compared while it is read."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from prefect_ml.errors import CorruptArtifactError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prefect_ml.entities import ArtifactInfo

ALGORITHM = "sha256:"


class Tally:
    """Size and SHA-256 of the pieces that went by."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def add(self, piece: bytes) -> None:
        self._hash.update(piece)
        self.size += len(piece)

    @property
    def hex(self) -> str:
        return self._hash.hexdigest()

    @property
    def digest(self) -> str:
        """As `ArtifactInfo` has it: "sha256:<hex>"."""
        return f"{ALGORITHM}{self.hex}"

    def check(self, name: str, expected: str | None) -> None:
        """Refuse what is not as its sender said; None says nothing."""
        if expected not in (None, self.digest):
            raise InvalidInputError(
                f"The artifact {name!r} came with the digest {self.digest}, but {expected} was announced; "
                "it was changed on the way, or while it was read: send it again."
            )


def verified(pieces: Iterable[bytes], digest: str | None, name: str, uri: str) -> Iterator[bytes]:
    """The pieces, the last one only when all of them together have the digest (None for any).

    Raises:
        CorruptArtifactError: they have not.
    """
    tally = Tally()
    held = b""
    for piece in pieces:
        tally.add(piece)
        if held:
            yield held
        held = piece
    if digest not in (None, tally.digest):
        raise corrupt(name, uri, tally.digest, str(digest))
    if held:
        yield held


class VerifiedReader(ABC):
    """An `ArtifactReader` that verifies a file which is read whole, given how its bytes are read.

    Attributes:
        info: the file's name, size and digest.
    """

    info: ArtifactInfo
    _uri: str

    @abstractmethod
    def _raw(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from one offset to another, in pieces."""

    @abstractmethod
    def close(self) -> None: ...

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        size = self.info.size or 0
        stop = size if stop is None else min(stop, size)
        if (start, stop) != (0, size):
            return self._raw(start, stop)
        return verified(self._raw(start, stop), self.info.digest, self.info.name, self._uri)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def corrupt(name: str, uri: str, found: str, written: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"The artifact {name!r} of {uri} has the digest {found}, but {written} was written; "
        "restore it from a copy or write it again."
    )
