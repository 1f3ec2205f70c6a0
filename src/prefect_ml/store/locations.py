"""Where artifacts may be, as a text that is kept and never opened by a store."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from prefect_ml.errors import InvalidInputError
from prefect_ml.store.names import check_text

MAX_LOCATION = 2_000

# Places behind a server, which it gives out itself.
_SERVED = "mlflow-artifacts"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
# As often as anything on the way might decode it.
_DECODINGS = 5


def check_location(value: Any) -> str:
    """An absolute URI or folder.

    Raises:
        InvalidInputError: it is relative or not plain, or only a server may give it out.
    """
    what = "An artifact location"
    location = check_text(what, value)
    if len(location) > MAX_LOCATION:
        raise InvalidInputError(f"{what} has at most {MAX_LOCATION} characters, got {len(location)}; shorten it.")
    if "#" in location or "?" in location:
        raise InvalidInputError(
            f"'artifact_location' URL can't include fragments or params. Take '#' and '?' out of {location!r}."
        )
    scheme = match.group(1).lower() if (match := _SCHEME.match(location)) else ""
    if scheme == _SERVED:
        raise InvalidInputError(
            f"{what} that begins with {_SERVED}: is given out by the server alone; leave it out to have one."
        )
    path = location[len(scheme) + 1 :] if scheme else location
    if not path.startswith("/"):
        raise InvalidInputError(
            f"{what} must be an absolute URI or folder, got {location!r}; a relative one would mean another place in "
            "each process."
        )
    if _climbs(path):
        raise InvalidInputError(f"{what} must not have '.' or '..' as a part of its path, got {location!r}.")
    return location


def _climbs(path: str) -> bool:
    """Whether a path has parts that are to be resolved, decoded however often."""
    for _ in range(_DECODINGS):
        if any(part in (".", "..") for part in re.split(r"[/\\]", path)) or "\x00" in path:
            return True
        decoded = unquote(path)
        if decoded == path:
            return False
        path = decoded
    return True
