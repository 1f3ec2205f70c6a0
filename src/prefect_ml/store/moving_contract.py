"""The part of the store's port that is about moving: whole things read as they are, and taken over as they were.

What is taken over keeps its ids, its numbers and its times. Nothing that is there already is changed. Each method that
takes something over is one transaction with a row of the audit log (action "imported"); webhooks are told nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prefect_ml.entities import (
    Attempt,
    Experiment,
    LifecycleStage,
    LoggedModel,
    Metric,
    ModelVersion,
    RegisteredModel,
    Run,
    Source,
    Step,
)


@dataclass(frozen=True, slots=True)
class MovedExperiment:
    """An experiment, deleted or not, and when it was deleted (ms; None when it is not, or nobody knows)."""

    experiment: Experiment
    deletion_time: int | None = None


@dataclass(frozen=True, slots=True)
class MovedSource:
    """What recorded something in a run, and the names of what it did by kind (as in `Step.recorded`)."""

    source: Source
    names: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class MovedRun:
    """A run, deleted or not, with every point of its curves; `run.latest` follows from them.

    Attributes:
        points: by (key, step, timestamp, value).
        deletion_time: when it was deleted, in ms.
        attempts: those that have ended, in order.
        steps: without what they recorded.
        sources: what recorded in these attempts.
    """

    run: Run
    points: Sequence[Metric] = ()
    deletion_time: int | None = None
    attempts: Sequence[Attempt] = ()
    steps: Sequence[Step] = ()
    sources: Sequence[MovedSource] = ()


@dataclass(frozen=True, slots=True)
class MovedLoggedModel:
    """A logged model, deleted or not; its metrics name the runs that logged them."""

    model: LoggedModel
    lifecycle_stage: LifecycleStage = LifecycleStage.ACTIVE
    deletion_time: int | None = None


@dataclass(frozen=True, slots=True)
class MovedModel:
    """A registered model with all of its versions, by number.

    Attributes:
        model: its `latest_versions` are left out.
        last_version: the highest number that was ever given, also to a version that was deleted.
    """

    model: RegisteredModel
    versions: Sequence[ModelVersion] = ()
    last_version: int = 0


# A tag of a version: the digest of what another store said of it.
FOREIGN_EVIDENCE_TAG = "prefect_ml.foreign_evidence"


@dataclass(frozen=True, slots=True)
class ForeignEvidence:
    """What another store said of a version when it was copied from there; it is shown, and counts for nothing here.

    Attributes:
        origin: where it comes from, as that store names itself.
        taken_over_at: when, in ms.
        taken_over_by: by whom; "" when nobody said.
        document: as `prefect_ml.moving.evidence` writes it: requests with gates and decisions, policies, alias moves.
        digest: "sha256:..." of the document, in the row of the audit log that holds it.
    """

    origin: str
    taken_over_at: int
    taken_over_by: str
    document: Mapping[str, Any]
    digest: str


class MovingStore(Protocol):
    """Whole things, in and out."""

    def get_moved_experiment(self, experiment_id: str) -> MovedExperiment: ...

    def get_moved_run(self, run_id: str) -> MovedRun: ...

    def get_moved_logged_model(self, model_id: str) -> MovedLoggedModel:
        """Read one; a deleted one too, until it is removed."""
        ...

    def get_moved_model(self, name: str) -> MovedModel: ...

    def list_logged_model_ids(self, experiment_id: str) -> Sequence[str]:
        """The ids of all logged models of an experiment, deleted ones included, the oldest first."""
        ...

    def take_over_experiment(self, moved: MovedExperiment, origin: str) -> str:
        """Add an experiment and return its id here; one that has the name already is left as it is.

        Args:
            moved: its id and the place of its artifacts are given anew.
            origin: where it comes from, for the audit log.
        """
        ...

    def take_over_run(self, moved: MovedRun, origin: str) -> bool:
        """Add a run to the experiment that it names; False, and nothing changes, when its id is there already.

        The place of its artifacts is the experiment's, whatever it says. Values of params and tags are not cut, as
        long as they have at most a million characters.

        Raises:
            InvalidInputError: something in it cannot be kept here; the message names it.
        """
        ...

    def take_over_logged_model(self, moved: MovedLoggedModel, origin: str) -> bool:
        """Add a logged model as `take_over_run` adds a run; metrics of runs that are not here are left out."""
        ...

    def take_over_model(self, moved: MovedModel, origin: str) -> Sequence[str]:
        """Add a registered model, or what it has that the one here lacks: versions, aliases and tags.

        Returns:
            What was not added, in sentences: versions whose number was deleted here, and aliases and stages that a
            policy protects (their versions come without them).

        Raises:
            AlreadyExistsError: the name is that of a prompt here and not there, or the other way round.
        """
        ...

    def take_over_evidence(
        self, name: str, version: int, origin: str, document: Mapping[str, Any], *, actor: str = ""
    ) -> bool:
        """Keep what another store said of a version, in a row of the audit log and its digest as a tag of the version.

        False, and nothing changes, when the last that came from this origin is the same.

        Raises:
            InvalidInputError: the document is no JSON, or has more than 400,000 characters.
        """
        ...

    def get_foreign_evidence(self, name: str, version: int) -> Sequence[ForeignEvidence]:
        """What other stores said of a version, by origin; the last of each."""
        ...
