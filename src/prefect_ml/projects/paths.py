"""Paths as people write them: `~` is filled in, and what can be no path is said to be none."""

from __future__ import annotations

from pathlib import Path

from prefect_ml.errors import InvalidInputError


def path_of(text: str) -> Path:
    """A path, with `~` as the home of its user.

    Raises:
        InvalidInputError: there is no such user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InvalidInputError(f"{text[:200]!r} begins with a user whose home nobody knows here.") from None


def is_there(path: Path) -> bool:
    """Whether a path is there; one that no file system could have is not."""
    try:
        return path.exists()
    except OSError:
        return False
