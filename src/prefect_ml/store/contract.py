"""The port of the store rooms: one protocol a noun, and all of them together as `Store`.

Every write is one transaction: it is wholly there when the call returns, and not there at all when it raises.
Errors raised are those of `prefect_ml.errors`; each docstring names the ones that are not obvious.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from prefect_ml.entities import (
    Alias,
    AliasMove,
    Attempt,
    AuditEntry,
    DatasetInput,
    Decision,
    Experiment,
    GateResult,
    JournalSpan,
    Metric,
    ModelVersion,
    Page,
    Policy,
    PromotionRequest,
    RegisteredModel,
    Rejection,
    RequestStatus,
    Run,
    RunBatch,
    RunStatus,
    Source,
    Stage,
    Step,
    ViewType,
)


class ExperimentStore(Protocol):
    """Experiments. A fresh store holds id "0" named "Default"; ids count up and are never reused."""

    def create_experiment(self, name: str, tags: Mapping[str, str] | None = None) -> str:
        """Create one and return its id; `AlreadyExistsError` also when a deleted one has the name."""
        ...

    def get_experiment(self, experiment_id: str) -> Experiment: ...

    def get_experiment_by_name(self, name: str) -> Experiment:
        """Find it by name, deleted ones included."""
        ...

    def search_experiments(
        self,
        filter: str = "",
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Experiment]: ...

    def rename_experiment(self, experiment_id: str, name: str) -> None: ...

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None: ...

    def delete_experiment(self, experiment_id: str) -> None:
        """Mark it and all its runs deleted."""
        ...

    def restore_experiment(self, experiment_id: str) -> None:
        """Make it and all its runs active again."""
        ...


class RunStore(Protocol):
    """Runs with their params, tags and metrics."""

    def create_run(
        self,
        experiment_id: str,
        *,
        run_id: str | None = None,
        name: str | None = None,
        user_id: str = "",
        start_time: int | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Create a run (status RUNNING); without an id or a name, one is made up. `AlreadyExistsError` on a used id."""
        ...

    def get_run(self, run_id: str) -> Run: ...

    def update_run(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        end_time: int | None = None,
        name: str | None = None,
    ) -> Run:
        """Change what is given and nothing else."""
        ...

    def delete_run(self, run_id: str) -> None: ...

    def restore_run(self, run_id: str) -> None: ...

    def log_batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Apply all of it or nothing; `ParamConflictError` when a param already has another value.

        An identical point leaves one; the latest value of a key is the one with the largest (step, timestamp, value).
        """
        ...

    def log_inputs(self, run_id: str, inputs: Sequence[DatasetInput]) -> None:
        """Note which data sets a run used; the same again changes nothing.

        Within a run, name and digest name an input: of two, the later one's facts stay, and its values of tags.
        """
        ...

    def delete_tag(self, run_id: str, key: str) -> None: ...

    def apply_journal(self, span: JournalSpan, batches: Sequence[RunBatch]) -> Sequence[Rejection]:
        """Apply what was read from a journal, exactly once, and return what was refused for good.

        In one transaction with the data, the journal's offset moves from `span.start` to `span.end`. A span that ends
        at or before the stored offset was applied already: nothing happens. `JournalOffsetError` when it starts
        elsewhere. Nobody waits for an answer here, so a part that can never be applied (a param conflict, a deleted
        run) is returned as a Rejection and the rest is kept. A batch for an unknown run without a `start` creates the
        run in the default experiment, so that the order in which several processes deliver does not matter; a later
        `start` then moves it to its experiment and sets its name and start time. A `start` of an existing run that
        had ended before it makes it RUNNING again (a retry or resume); the earliest start time stays. An unknown
        experiment name is created; a deleted one restored.
        """
        ...

    def journal_offset(self, journal_id: str) -> int:
        """How far, in bytes, a journal has been applied; 0 when it is unknown."""
        ...

    def get_attempts(self, run_id: str) -> Sequence[Attempt]:
        """The attempts of a run, in order."""
        ...

    def heartbeat(self, attempt_ids: Sequence[str]) -> None:
        """Note that attempts live; one that was presumed dead runs again."""
        ...

    def silent_attempts(self, timeout: float, max_results: int = 100) -> Sequence[Attempt]:
        """Attempts that have not ended and gave no sign of life for `timeout` seconds, the longest silent first."""
        ...

    def presume_ended(
        self,
        run_id: str,
        attempt_id: str,
        status: RunStatus,
        end_time: int,
        *,
        seen: int | None = None,
        anew: bool = False,
    ) -> bool:
        """End an attempt that nobody ended, and its run when it is RUNNING and this is its latest attempt.

        False, and nothing changes, when it has ended, or gave another sign of life than `seen`. With `anew`, an end
        that was presumed before is corrected, by one who knows it better.
        """
        ...

    def save_steps(self, run_id: str, steps: Sequence[Step]) -> None:
        """Keep what the orchestrator says of task runs now, by `task_run_id`; `recorded` is not written by this."""
        ...

    def get_steps(self, run_id: str) -> Sequence[Step]:
        """The steps that are known of a run, by start."""
        ...

    def recorders(self, run_id: str, kind: str, name: str) -> Sequence[Source]:
        """The tasks of a run that recorded a name of a kind (as in `Step.recorded`), in the order of execution."""
        ...

    def get_metric_history(
        self, run_id: str, key: str, max_results: int | None = None, page_token: str | None = None
    ) -> Page[Metric]:
        """The points of one curve ordered by (step, timestamp, value); all of them when `max_results` is None."""
        ...

    def sample_metric_history(self, run_id: str, key: str, max_points: int) -> Sequence[Metric]:
        """At most `max_points` points evenly over the curve, always with the first and the last."""
        ...

    def search_runs(  # noqa: PLR0917  MLflow's parameters, in MLflow's order
        self,
        experiment_ids: Sequence[str],
        filter: str = "",
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Run]:
        """Runs in MLflow's filter and order-by language; newest first by default, then by run id. Keyset paging."""
        ...


class ModelStore(Protocol):
    """Registered models, versions, aliases and stages.

    Whatever would move, drop or hide a protected alias or stage raises `ProtectedError`: setting or deleting the alias,
    a transition into or out of a protected stage, deleting the version or model it is on, renaming the model.
    """

    def create_registered_model(
        self, name: str, description: str = "", tags: Mapping[str, str] | None = None
    ) -> RegisteredModel: ...

    def get_registered_model(self, name: str) -> RegisteredModel: ...

    def update_registered_model(self, name: str, description: str) -> RegisteredModel: ...

    def rename_registered_model(self, name: str, new_name: str) -> RegisteredModel: ...

    def delete_registered_model(self, name: str) -> None: ...

    def search_registered_models(
        self,
        filter: str = "",
        order_by: Sequence[str] = (),
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[RegisteredModel]: ...

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None: ...

    def delete_registered_model_tag(self, name: str, key: str) -> None: ...

    def create_model_version(
        self,
        name: str,
        source: str,
        *,
        run_id: str | None = None,
        description: str = "",
        artifact_digest: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Add the next version (from 1, never reused) to an existing model."""
        ...

    def get_model_version(self, name: str, version: int) -> ModelVersion: ...

    def update_model_version(self, name: str, version: int, description: str) -> ModelVersion: ...

    def delete_model_version(self, name: str, version: int) -> None: ...

    def search_model_versions(
        self,
        filter: str = "",
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[ModelVersion]: ...

    def set_model_version_tag(self, name: str, version: int, key: str, value: str) -> None: ...

    def delete_model_version_tag(self, name: str, version: int, key: str) -> None: ...

    def transition_stage(
        self, name: str, version: int, stage: Stage, *, archive_existing: bool = False
    ) -> ModelVersion: ...

    def latest_versions(self, name: str, stages: Sequence[Stage] = ()) -> Sequence[ModelVersion]:
        """The highest version of each stage present (of all stages when none is named)."""
        ...

    def set_alias(self, name: str, alias: str, version: int, *, actor: str = "", reason: str = "") -> Alias:
        """Point an unprotected alias at a version: generation + 1, previous kept, history and audit row."""
        ...

    def delete_alias(self, name: str, alias: str, *, actor: str = "", reason: str = "") -> None: ...

    def get_alias(self, name: str, alias: str) -> Alias: ...

    def alias_history(self, name: str, alias: str) -> Sequence[AliasMove]:
        """Every move, oldest first."""
        ...

    def alias_at(self, name: str, alias: str, at: int) -> AliasMove | None:
        """The move in force at a time (ms); None when the alias did not exist."""
        ...


class PromotionStore(Protocol):
    """Policies, promotion requests and the audit log."""

    def save_policy(self, policy: Policy, *, actor: str, reason: str = "") -> Policy:
        """Store the next version of a policy (the version given is ignored); the same content again changes nothing.

        Raises `ProtectedError` when it takes or weakens the protection of a set alias or used stage without a reason.
        """
        ...

    def get_policy(self, name: str, version: int | None = None) -> Policy: ...

    def list_policies(self) -> Sequence[Policy]: ...

    def policy_for(self, name: str, alias: str) -> Policy | None:
        """The policy that protects an alias of a model, if any; the first by policy name when several match."""
        ...

    def create_request(
        self,
        *,
        key: str,
        name: str,
        version: int,
        alias: str,
        stage: str | None,
        requester: str,
        artifact_digest: str,
        evidence: Sequence[GateResult],
        policy: str,
        policy_version: int,
        flow_run_id: str | None = None,
    ) -> PromotionRequest:
        """Record a request; the same key again returns the one that is there.

        Born REJECTED when a gate failed or the evidence lacks one of the policy's gates, APPROVED when the policy asks
        for no approvals, else PENDING. `base_generation` is the alias's generation now (0 when it does not exist).
        """
        ...

    def get_request(self, request_id: str) -> PromotionRequest:
        """The request; one whose time is over reads EXPIRED."""
        ...

    def get_request_by_key(self, key: str) -> PromotionRequest | None: ...

    def list_requests(
        self, *, name: str | None = None, status: RequestStatus | None = None, max_results: int = 100
    ) -> Sequence[PromotionRequest]:
        """Newest first."""
        ...

    def decide(self, request_id: str, decision: Decision) -> PromotionRequest:
        """Record one decision. The same actor's same decision again changes nothing.

        Raises `PromotionError` when the request is not PENDING, `NotAllowedError` when the actor is no approver or is
        the requester under four eyes, `InvalidInputError` for a rejection without a reason.
        """
        ...

    def promote(self, request_id: str, *, artifact_digest: str, actor: str) -> Alias:
        """Move the alias for an APPROVED request, in one transaction; again for a PROMOTED one: the alias it moved.

        Checks expiry, that `artifact_digest` and the version's are the request's, that the evidence still has its
        digest, and that the alias is at `base_generation`: else `StaleRequestError` (the request becomes SUPERSEDED or
        EXPIRED).
        """
        ...

    def rollback(self, name: str, alias: str, *, actor: str, reason: str) -> Alias:
        """Move the alias back to its previous version, generation + 1; protected or not, with a reason, audited."""
        ...

    def audit(self, *, subject: str | None = None, after: int = 0, max_results: int = 1000) -> Sequence[AuditEntry]:
        """Audit rows in order, those with a sequence greater than `after`."""
        ...

    def verify_audit(self) -> int:
        """Check the whole chain and return its length; `CorruptArtifactError` naming the first bad row."""
        ...


class Store(ExperimentStore, RunStore, ModelStore, PromotionStore, Protocol):
    """All of it. `SqlStore` is one; a server's client is another."""

    @property
    def url(self) -> str:
        """Where it is, without any password."""
        ...

    def close(self) -> None:
        """Finish what is being written and give all connections back. Idempotent."""
        ...
