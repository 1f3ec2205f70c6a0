"""The one function that turns an artifact's name into a path."""

from __future__ import annotations

import os
import re
from pathlib import Path

from prefect_ml.errors import InvalidNameError

MAX_NAME_BYTES = 1024
MAX_SEGMENT_BYTES = 255
# Where stores keep what is not for readers: digests and partial files.
HIDDEN = ".prefect-ml"

# A scheme or a Windows drive at the start of a name means another place than "below the root".
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:(/|$)|[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def split_name(name: str) -> tuple[str, ...]:
    """The segments of a relative POSIX name, unchanged: nothing is decoded, folded or trimmed.

    Raises:
        InvalidNameError: the name is empty, absolute, has `.`, `..` or empty segments, a backslash, a drive,
            a scheme, a control character, a segment that ends with a dot or a space (Windows drops those), or
            is too long.
    """
    reason = _objection(name)
    if reason:
        raise InvalidNameError(
            f"The artifact name {name!r} {reason}; use a relative name with forward slashes, like 'plots/roc.png'."
        )
    return tuple(name.split("/"))


def own_name(name: str) -> tuple[str, ...]:
    """The segments of a name that a caller gives a file or folder.

    Raises:
        InvalidNameError: as `split_name`, or a segment is the name of what stores keep beside the files.
    """
    segments = split_name(name)
    # Folded, since on some file systems names that differ in case alone are one file.
    if any(segment.casefold() == HIDDEN for segment in segments):
        raise InvalidNameError(f"The artifact name {name!r} is reserved; choose one without {HIDDEN!r}.")
    return segments


def resolve(root: Path, name: str) -> Path:
    """The path of `name` below `root`; below the root no link is followed, wherever it points.

    Raises:
        InvalidNameError: as `split_name`, or a part of the path is a symbolic link.
    """
    path = Path(os.path.realpath(root))
    for segment in split_name(name):
        path /= segment
        if path.is_symlink():
            raise InvalidNameError(
                f"The artifact name {name!r} passes through a symbolic link; "
                "replace the link by the files it points to."
            )
    return path


def _objection(name: str) -> str | None:
    """Why a name is refused; None when it is fine."""
    if not isinstance(name, str) or not name:
        return "is empty"
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "is no valid Unicode text"
    wrong = (
        (name.startswith("/"), "is absolute"),
        ("\\" in name, "has a backslash"),
        (_CONTROL.search(name), "has a control character"),
        (_ELSEWHERE.match(name), "starts with a drive or a URI scheme"),
        (len(name.encode()) > MAX_NAME_BYTES, f"is longer than {MAX_NAME_BYTES} bytes"),
    )
    reasons = (*(reason for is_so, reason in wrong if is_so), *map(_segment_objection, name.split("/")))
    return next((reason for reason in reasons if reason), None)


def _segment_objection(segment: str) -> str | None:
    if segment == "":
        return "has an empty segment"
    if segment.strip(".") == "":
        return "has a segment of dots alone"
    if segment[-1] in ". ":
        return "has a segment that ends with a dot or a space"
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        return f"has a segment longer than {MAX_SEGMENT_BYTES} bytes"
    return None
