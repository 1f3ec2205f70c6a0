"""Carrying files from an origin into an artifact store, each with its digest."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from prefect_ml.artifacts.contract import ArtifactStore
from prefect_ml.entities import ArtifactInfo
from prefect_ml.errors import PrefectMLError, StoreUnavailableError
from prefect_ml.moving.files import walk
from prefect_ml.moving.origin import Files

_ATTEMPTS = 4
_PAUSE = 0.5


class UnreadableError(PrefectMLError):
    """Files of a run or model cannot be carried; each is named with the reason."""


def carry(files: Files, target: ArtifactStore, *, skip_unreadable: bool = False) -> Sequence[str]:
    """Copy every file; one that is there already with the announced digest stays.

    Args:
        files: of the origin.
        target: the root of the files here.
        skip_unreadable: whether a file that cannot be read is left out and named in the answer.

    Raises:
        UnreadableError: files cannot be read, and none may be left out.
        StoreUnavailableError: the origin is away.
    """
    there: dict[str, ArtifactInfo] | None = None
    lost: list[str] = []
    for info in files.infos():
        if info.digest is not None:
            there = {each.name: each for each in walk(target)} if there is None else there
            if info.name in there and there[info.name].digest == info.digest:
                continue
        try:
            _carry_one(files, info, target)
        except StoreUnavailableError:
            raise
        except PrefectMLError as error:
            lost.append(f"The file {info.name!r} was left out: {error}")
    if lost and not skip_unreadable:
        raise UnreadableError(" ".join(lost))
    return lost


def listing_digest(infos: Sequence[ArtifactInfo], folder: str) -> str:
    """The digest of a model folder (see `prefect_ml.models.digest`) from those of its files; "" when one is unknown."""
    if not infos or any(info.digest is None for info in infos):
        return ""
    start = len(folder) + 1 if folder else 0
    lines = sorted((info.name[start:].encode(), str(info.digest).removeprefix("sha256:")) for info in infos)
    listing = b"".join(digest.encode() + b"  " + name + b"\n" for name, digest in lines)
    return f"sha256:{hashlib.sha256(listing).hexdigest()}"


def _carry_one(files: Files, info: ArtifactInfo, target: ArtifactStore) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with target.writer(info.name) as writer:
                for piece in files.pieces(info.name):
                    writer.write(piece)
                writer.commit(info.digest)
        except StoreUnavailableError:
            if attempt == _ATTEMPTS:
                raise
            time.sleep(_PAUSE * attempt)
        else:
            return
