"""Words that are the same everywhere: statuses, stages, what a page is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class RunStatus(StrEnum):
    """Status of a run; the names are MLflow's."""

    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"

    @property
    def ended(self) -> bool:
        return self in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)


class LifecycleStage(StrEnum):
    ACTIVE = "active"
    DELETED = "deleted"


class ViewType(StrEnum):
    """Which lifecycle stages a search looks at."""

    ACTIVE_ONLY = "ACTIVE_ONLY"
    DELETED_ONLY = "DELETED_ONLY"
    ALL = "ALL"


class Stage(StrEnum):
    """Stage of a model version; the names are MLflow's."""

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"


class RequestKind(StrEnum):
    """What a promotion request asks for: a version that passed the gates, or the one that was there before."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"


class RequestStatus(StrEnum):
    """State of a promotion request.

    ```
    PENDING ──approve──▶ APPROVED ──move──▶ PROMOTED
       │                    ├──▶ EXPIRED      (its approval is too old, or its time is over)
       ├──reject──▶ REJECTED└──▶ SUPERSEDED   (the alias moved, or something else changed meanwhile)
       └──time────▶ EXPIRED
    ```
    A request whose gates failed is born REJECTED.
    """

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    SUPERSEDED = "SUPERSEDED"
    PROMOTED = "PROMOTED"


class Decay(StrEnum):
    """What was done with a champion that fails its gates by now; the first three are a policy's `on_decay`."""

    NOTHING = "nothing"
    ROLLED_BACK = "rollback"
    REMOVED = "remove"
    NOTHING_BEFORE = "nothing to go back to"
    MOVED_MEANWHILE = "moved meanwhile"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a search; `next_token` is None when nothing follows."""

    items: Sequence[T]
    next_token: str | None = None
