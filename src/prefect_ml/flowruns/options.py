"""How the runs of a flow are recorded, as its decorator says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# The attribute of a flow's function that holds its options, or None when it is not to be tracked.
OPTIONS = "__prefect_ml_track__"


@dataclass(frozen=True, slots=True)
class Options:
    """See `prefect_ml.track`."""

    experiment: str | None = None
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    autolog: bool | Sequence[str] | None = None


def options_of(function: Any) -> Options | None:
    """The options of a tracked flow's function; None when it is not tracked."""
    found = getattr(function, OPTIONS, None)
    return found if isinstance(found, Options) else None
