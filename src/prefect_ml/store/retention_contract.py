"""The part of the store's port that is about removing for good what was deleted long ago."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from prefect_ml.entities.endpoints import ENDPOINT_URI


class Kind(StrEnum):
    """What can be deleted, and is removed later."""

    RUN = "run"
    LOGGED_MODEL = "logged model"
    EXPERIMENT = "experiment"


@dataclass(frozen=True, slots=True)
class Deleted:
    """Something that was deleted, alone or with its experiment.

    Attributes:
        id: of the run, logged model or experiment.
        artifact_uri: the root of its files.
        deletion_time: in ms; the last time that it changed where nobody noted when it was deleted.
        held_by: the model versions that need it, as "models:/churn/3", and the endpoints that route to one of these, as
            "endpoints:/live"; for an experiment, those that need something in it.
    """

    kind: Kind
    id: str
    name: str
    experiment_id: str
    artifact_uri: str
    deletion_time: int
    held_by: Sequence[str] = ()

    def stays(self, *, held: bool) -> bool:
        """Whether it is needed: by a model version, or only by an endpoint where the former may go (`held`)."""
        return any(not held or each.startswith(ENDPOINT_URI) for each in self.held_by)


class RetentionStore(Protocol):
    """Removal in two steps, with the files between them: a removal that was begun cannot be undone, but repeated."""

    def list_deleted(self, before: int) -> Sequence[Deleted]:
        """What was deleted by a time (ms) or is being removed: runs, then logged models, then experiments.

        A logged model counts as deleted with its experiment. The default experiment is never listed.
        """
        ...

    def begin_removal(self, kind: Kind, ids: Sequence[str], before: int, *, held: bool = False) -> Sequence[str]:
        """Mark things for removal, so that they cannot be restored, and return the ids of those that are marked now.

        What is not there, was not deleted by the time, or is needed by a model version is not marked (the latter is
        with `held`, as long as no endpoint routes to the version). An experiment is marked only when nothing is left in
        it but what is marked too.
        """
        ...

    def remove(self, kind: Kind, id: str, reason: str) -> bool:
        """Remove the rows of what was marked, with a row of the audit log; False when there are none any more.

        An experiment stays until nothing is in it.
        """
        ...
