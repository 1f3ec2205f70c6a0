"""From the URI of an artifact root to its store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from prefect_ml.artifacts.local import LocalArtifactStore
from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from prefect_ml.artifacts.contract import ArtifactStore

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")


def open_artifacts(uri: str) -> ArtifactStore:
    """Open the store at a URI; a folder is made by the first write, a bucket must be there.

    Args:
        uri: a folder path, `file:///folder`, `s3://bucket/folder`, the like for another cloud
            (`prefect_ml.artifacts.remote.SCHEMES`), or `mlflow-artifacts:/folder` for what the tracking server keeps.

    Raises:
        InvalidInputError: another scheme, a URI with a user, query or fragment, or a path with `..` in it.
        ArtifactError: the library for the scheme is not installed.
    """
    scheme = match.group(1).lower() if uri and (match := _SCHEME.match(uri)) else "file"
    if scheme == "file":
        return LocalArtifactStore(local_path(uri))
    return _elsewhere(scheme, uri)


def _elsewhere(scheme: str, uri: str) -> ArtifactStore:
    """What is not in a folder of this machine; only those who go there pay for the imports."""
    from prefect_ml.settings import Settings  # noqa: PLC0415

    if scheme == "s3":
        from prefect_ml.artifacts.s3 import S3ArtifactStore  # noqa: PLC0415
        from prefect_ml.artifacts.s3_client import client_of, place_of  # noqa: PLC0415

        settings = Settings()
        return S3ArtifactStore(*place_of(uri), client_of(settings.s3_endpoint), settings.s3_kms_key)
    if scheme == "mlflow-artifacts":
        from prefect_ml.artifacts.served import open_served  # noqa: PLC0415

        return open_served(uri, Settings())
    from prefect_ml.artifacts.remote import open_remote  # noqa: PLC0415

    return open_remote(uri)


def local_path(uri: str) -> Path:
    """The absolute path that a folder path or `file:` URI names; in a plain path `#` and `?` are text."""
    if not uri or "\x00" in uri:
        raise InvalidInputError(f"{uri!r} names no artifact folder; give a folder path or a file: URI.")
    scheme = _SCHEME.match(uri)
    path = Path(uri if scheme is None else _file_uri_path(uri, scheme.group(1).lower()))
    if ".." in path.parts:
        raise InvalidInputError(f"The artifact folder {uri!r} has '..' in it; give the path without it.")
    return path.absolute()


def _file_uri_path(uri: str, scheme: str) -> str:
    if scheme != "file":
        raise InvalidInputError(f"Artifacts cannot be kept at {uri!r}: give a folder path or a file: URI.")
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise InvalidInputError(f"The artifact URI {uri!r} must look like 'file:///absolute/folder'.")
    if parts.query or parts.fragment or "#" in uri or "?" in uri:
        raise InvalidInputError(f"The artifact URI {uri!r} has a query or fragment; write '?' as %3F and '#' as %23.")
    path = unquote(parts.path)
    if "\x00" in path:
        raise InvalidInputError(f"The artifact URI {uri!r} has a NUL character in it.")
    return path
