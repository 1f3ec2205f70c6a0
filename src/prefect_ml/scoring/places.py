"""Where tables are read from: a file, a folder or a pattern, on this machine or in a cloud."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prefect_ml.artifacts.durable import CHUNK
from prefect_ml.artifacts.open import local_path
from prefect_ml.artifacts.remote import SCHEMES
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://")
_PATTERN = re.compile(r"[*?\[]")
PARQUET = (".parquet", ".pq")
CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of tables.

    Attributes:
        place: what was asked for; opens the file's file system again in another process.
        path: in that file system.
        name: as people know it.
        size: in bytes.
        digest: of its bytes ("sha256:…") on this machine; elsewhere of its size and time ("stat:…").
    """

    place: str
    path: str
    name: str
    size: int
    digest: str


def open_files(place: str) -> tuple[Any, str]:
    """The Arrow file system of a path or URL, and the path in it.

    Raises:
        InvalidInputError: a scheme that is not known here, or a URL with credentials in it.
        ArtifactError: the scheme's library is not installed.
    """
    from pyarrow import fs  # noqa: PLC0415 - only those who score pay for its import

    scheme = match.group(1).lower() if (match := _SCHEME.match(place)) else "file"
    if scheme == "file":
        return fs.LocalFileSystem(), str(local_path(place))
    parts = urlsplit(place)
    if parts.query or (parts.username and scheme not in ("abfs", "abfss")) or parts.password:
        raise InvalidInputError("The URL has credentials in it, and parameters are kept and shown: leave them out.")
    path = place[len(scheme) + 3 :].rstrip("/")
    if scheme == "s3":
        return fs.S3FileSystem(**_s3_options(Settings().s3_endpoint)), path
    if scheme not in SCHEMES:
        known = ", ".join(sorted({"file", "s3", *SCHEMES}))
        raise InvalidInputError(f"Tables cannot be read from {scheme}://; give a path or a URL of {known}.")
    import fsspec  # noqa: PLC0415 (slow to import)

    try:
        files = fsspec.filesystem(scheme, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise InvalidInputError(f"Tables at {scheme}:// need a library that is not installed: {error}.") from error
    return fs.PyFileSystem(fs.FSSpecHandler(files)), files._strip_protocol(place)  # noqa: SLF001 - fsspec's own way


def find_inputs(place: str) -> list[InputFile]:
    """The files of tables at a place, by name: Parquet or CSV, not both.

    Of a folder, all below it count but those whose names, or folders' names, begin with "." or "_". In a pattern, `*`,
    `?` and `[…]` stand for parts of a name and `**` for any number of folders.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: they are of several kinds, or of none that is known.
    """
    from pyarrow import fs  # noqa: PLC0415

    files, path = open_files(place)
    info = None if _PATTERN.search(path) else files.get_file_info(path)
    if info is not None and info.type == fs.FileType.File:
        found = [info]
    else:
        base = path if info is not None else _PATTERN.split(path)[0].rpartition("/")[0]
        selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
        below = [each for each in files.get_file_info(selector) if each.type == fs.FileType.File]
        found = [each for each in below if _wanted(each.path, base, None if info is not None else path)]
    if not found:
        raise NotFoundError(f"There is no Parquet or CSV file at {place!r}.")
    kinds = {kind_of(each.path) for each in found}
    if len(kinds) > 1 or "" in kinds:
        raise InvalidInputError(f"The files at {place!r} must all be Parquet (.parquet) or all CSV (.csv, .tsv).")
    local = isinstance(files, fs.LocalFileSystem)
    return [
        InputFile(place, each.path, _name(place, each.path), each.size, _digest(files, each, local=local))
        for each in sorted(found, key=lambda each: each.path)
    ]


def kind_of(path: str) -> str:
    """What a file is by the end of its name: "parquet", "csv", or "" for neither."""
    name = path.lower()
    return "parquet" if name.endswith(PARQUET) else "csv" if name.endswith(CSV) else ""


def _wanted(path: str, base: str, pattern: str | None) -> bool:
    if pattern is not None:
        return _matches(path.split("/"), pattern.split("/"))
    inside = path[len(base) :].strip("/").split("/")
    return bool(kind_of(path)) and not any(part.startswith((".", "_")) for part in inside)


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_matches(names[skipped:], pattern[1:]) for skipped in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])


def _name(place: str, path: str) -> str:
    scheme = _SCHEME.match(place)
    return path if scheme is None or scheme.group(1) == "file" else f"{scheme.group(1).lower()}://{path}"


def _digest(files: Any, info: Any, *, local: bool) -> str:
    digest = hashlib.sha256()
    if not local:
        digest.update(f"{info.path}\n{info.size}\n{info.mtime_ns}".encode())
        return f"stat:{digest.hexdigest()}"
    with files.open_input_stream(info.path, compression=None) as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def _s3_options(endpoint: str | None) -> dict[str, Any]:
    if not endpoint:
        return {}
    parts = urlsplit(endpoint)
    return {"endpoint_override": parts.netloc, "scheme": parts.scheme}
