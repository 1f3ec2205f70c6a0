"""The schema's history: `versions/r<number>_<what>.py`, each applied once, in order.

A release's schema is the last file of `versions`; a file once released is never edited.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent


@cache
def revisions() -> tuple[str, ...]:
    """All revision ids (the part of the file name before the first underscore), oldest first."""
    return tuple(sorted(path.stem.split("_")[0] for path in (FOLDER / "versions").glob("r*_*.py")))
