"""Fetching what a parameter of type `path` names by a URL."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import ArtifactError, InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 16 << 30
_SECONDS = 60.0


def download(url: str, folder: Path) -> Path:
    """A file or folder of this machine with what a URL names, in `folder`.

    Args:
        url: `http:`, `https:`, or a place of artifacts such as `s3:`.
        folder: where it goes, under its own name.

    Raises:
        ArtifactError: it cannot be fetched.
        InvalidInputError: the URL names no file, or has a password in it.
    """
    parts = urlsplit(url)
    name = PurePosixPath(unquote(parts.path)).name
    if not name or name.startswith(".") or "/" in name or parts.password is not None:
        raise InvalidInputError(f"The URL {url[:200]!r} names no file that can be fetched.")
    target = folder / name
    if parts.scheme in {"http", "https"}:
        _fetch(url, target)
        return target
    parent, _, _ = url.rpartition("/")
    return open_artifacts(parent).download(name, target)


def _fetch(url: str, target: Path) -> None:
    import httpx  # noqa: PLC0415 - only who fetches pays for its import

    size = 0
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=_SECONDS) as answer, target.open("wb") as stream:
            answer.raise_for_status()
            for piece in answer.iter_bytes(1 << 20):
                size += len(piece)
                if size > _MOST_BYTES:
                    raise ArtifactError(f"{url[:200]!r} is larger than {_MOST_BYTES >> 30} GiB.")
                stream.write(piece)
    except httpx.HTTPError as error:
        raise ArtifactError(f"{url[:200]!r} cannot be fetched: {error}") from error
