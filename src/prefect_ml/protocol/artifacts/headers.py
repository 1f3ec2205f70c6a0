"""The headers of files: what they are, what they are called, their digest, and which part of them is meant."""

from __future__ import annotations

import mimetypes
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from prefect_ml.artifacts.wire import digest_of, etag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.entities import ArtifactInfo

_UNKNOWN = "application/octet-stream"
_TEXT = "text/plain; charset=utf-8"
# Shown as text, whatever the endings mean elsewhere; markup and scripts among them, which nothing here may run.
_TEXT_ENDING = re.compile(
    r"\.(?:bat|c|cfg|conf|css|csv|diff|h|html?|ini|java|js|jsonl?|lock|log|md|mjs|patch|properties|py|r|rst|sh|sql|toml"
    r"|ts|tsv|txt|xhtml|xml|ya?ml)"
)
_TEXT_NAMES = frozenset({"mlmodel", "mlproject", "dockerfile", "makefile", "license", "readme"})
# Python's own table, without those of the machine, which differ.
_TYPES = mimetypes.MimeTypes(filenames=())
_SHOWN = ("image/", "audio/", "video/", "font/", "application/pdf", "application/zip", "application/gzip")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~\-]+")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def content_type(name: str) -> str:
    """By the ending of the name alone; what is not known to be harmless comes as bytes."""
    base = name.rpartition("/")[2].lower()
    ending = f".{base.rpartition('.')[2]}" if "." in base else ""
    if _TEXT_ENDING.fullmatch(ending) or base in _TEXT_NAMES:
        return _TEXT
    found, encoding = _TYPES.guess_type(f"x{ending}")
    return found if found and not encoding and found.startswith(_SHOWN) else _UNKNOWN


def content_disposition(name: str) -> str:
    """That the file is to be saved, under its base name (RFC 6266).

    `filename` stands bare where a name is a token, as MLflow's clients know it; any other name is quoted there and
    comes whole in `filename*`.
    """
    base = name.rpartition("/")[2]
    if _TOKEN.fullmatch(base):
        return f"attachment; filename={base}"
    plain = base.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(base, safe='')}"


def announced_digest(headers: Mapping[bytes, bytes]) -> str | None:
    """The SHA-256 that a sender gives with a file; None when it gives none.

    Raises:
        InvalidInputError: it is none.
    """
    given = headers.get(b"repr-digest") or headers.get(b"content-digest") or b""
    return digest_of(given.decode("latin-1"))


def part_of(headers: Mapping[bytes, bytes], info: ArtifactInfo) -> tuple[int, int] | None:
    """First byte and end of the one part that is asked for; None for the whole, (size, size) for a part beyond it.

    Parts are given of files with a digest alone: without one, nobody could say whether two belong together.
    """
    found = _RANGE.fullmatch(headers.get(b"range", b"").decode("latin-1"))
    condition = headers.get(b"if-range")
    if found is None or info.digest is None or info.size is None:
        return None
    if condition is not None and condition.decode("latin-1") != etag(info.digest):
        return None
    first, last = found.groups()
    if first:
        start, stop = int(first), min(int(last) + 1, info.size) if last else info.size
        if last and int(last) < int(first):
            return None
    elif last:
        start, stop = max(0, info.size - int(last)), info.size
    else:
        return None
    return (start, stop) if start < stop else (info.size, info.size)
