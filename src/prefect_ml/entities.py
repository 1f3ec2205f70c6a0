"""The words of the domain: plain frozen values that every room exchanges.

Times are integers, milliseconds since the epoch (UTC). Ids are opaque strings. Nothing here knows SQL,
HTTP or Prefect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

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


class RequestStatus(StrEnum):
    """State of a promotion request.

    ```
    PENDING ──approve──▶ APPROVED ──move──▶ PROMOTED
       │                    ├──▶ EXPIRED
       ├──reject──▶ REJECTED└──▶ SUPERSEDED   (the alias moved meanwhile)
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


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a search; `next_token` is None when nothing follows."""

    items: Sequence[T]
    next_token: str | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: LifecycleStage
    creation_time: int
    last_update_time: int
    tags: Mapping[str, str] = field(default_factory=dict)


class Metric(NamedTuple):
    """One point of a curve; value may be NaN or infinite, timestamp is in ms."""

    key: str
    value: float
    timestamp: int
    step: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A run with its params, tags and the latest value of each metric."""

    run_id: str
    experiment_id: str
    name: str
    status: RunStatus
    user_id: str
    start_time: int
    end_time: int | None
    artifact_uri: str
    lifecycle_stage: LifecycleStage
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[DatasetInput] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set as it was when a run used it; the fields are those of MLflow's protocol.

    Attributes:
        name: what people call it.
        digest: a fingerprint of its content, at most 36 characters; equal content has equal digests.
        source_type: what kind of place it came from, for example "local", "s3", "http" or "code".
        source: that place, as JSON; for example `{"uri": "s3://bucket/churn.parquet"}`.
        schema: columns and their types, as JSON; "" when unknown.
        profile: row count and other facts, as JSON; "" when unknown.
    """

    name: str
    digest: str
    source_type: str
    source: str
    schema: str = ""
    profile: str = ""


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """That a run used a data set; the tag `mlflow.data.context` says for what ("training", "evaluation", …)."""

    dataset: Dataset
    tags: Mapping[str, str] = field(default_factory=dict)


class Source(NamedTuple):
    """What recorded something in a run: the code of the run itself, or one of its tasks.

    A later execution of the same code (same scope; later by `number`, `started` and `retry`) replaces what an earlier
    one recorded at the same step of the same curve, so that a retried or resumed run has each point once.

    Attributes:
        attempt_id: the attempt of the run; "" when unknown, which replaces nothing and is replaced by nothing.
        number: the attempt's number.
        started: when the attempt started, in ms.
        scope: "" for the run's own code; else one call of one task, named alike in each attempt.
        retry: how often the task was retried before within the attempt.
        task_run_id: the orchestrator's id of the task run, "" for the run's own code.
    """

    attempt_id: str = ""
    number: int = 1
    started: int = 0
    scope: str = ""
    retry: int = 0
    task_run_id: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a run's code: a retried, resumed or rescheduled run has several.

    Attributes:
        run_id: the run.
        attempt_id: an opaque id.
        number: the orchestrator's count, from 1; a resumed run keeps the number of the attempt that was suspended.
        start_time: when it started, in ms.
        end_time: when it ended, in ms; None while it lives.
        outcome: how it ended: a status of runs, SCHEDULED when it was suspended; None while it lives.
        host: the machine.
        pid: the process.
        seen: its last sign of life by the store's clock, in ms.
        presumed: whether its end was concluded from its silence; another sign of life undoes that.
    """

    run_id: str
    attempt_id: str
    number: int
    start_time: int
    end_time: int | None = None
    outcome: RunStatus | None = None
    host: str = ""
    pid: int = 0
    seen: int = 0
    presumed: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A task run of a flow run, as a step of the run.

    Attributes:
        task_run_id: the orchestrator's id.
        name: name of the task run.
        scope: as in `Source`.
        state: the orchestrator's name of its state, for example "Completed", "Cached" or "AwaitingRetry".
        start_time: in ms; None when it never started.
        end_time: in ms; None while it runs.
        run_count: how often its code ran; 0 for one that was taken from a cache.
        recorded: what it recorded: kinds ("metric", "param", "tag", "artifact", "model", "input") to names.
    """

    task_run_id: str
    name: str
    scope: str
    state: str
    start_time: int | None
    end_time: int | None
    run_count: int
    recorded: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JournalSpan:
    """The bytes `start` to `end` of one journal that a batch was read from.

    A store applies a span once: it keeps, for each journal, how far it has come, in the transaction of the data.
    """

    journal_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RunStart:
    """What creates a run, or continues it when it exists."""

    experiment: str
    name: str | None
    user_id: str
    start_time: int
    tags: Mapping[str, str] = field(default_factory=dict)
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How an attempt ended, and the run with it unless a later attempt has started; SCHEDULED suspends the run.

    Attributes:
        status: how.
        end_time: when, in ms.
        attempt_id: the attempt; "" when whoever knows of the end does not know it: then all attempts end.
        number: number of the attempt, 0 when unknown; an attempt with a larger number goes on.
    """

    status: RunStatus
    end_time: int | None
    attempt_id: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one source recorded.

    Attributes:
        source: the code of the run, or one of its tasks.
        metrics: its points.
        names: what else, as in `Step.recorded`.
    """

    source: Source
    metrics: Sequence[Metric] = ()
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunBatch:
    """What is applied to one run in one transaction, in this order: start, params, tags, metrics, inputs, end.

    `metrics` are points of no known source.
    """

    run_id: str
    start: RunStart | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Metric] = ()
    end: RunEnd | None = None
    recorded: Sequence[Recorded] = ()
    inputs: Sequence[DatasetInput] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A part of a journal batch that the store refused for good, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    latest_versions: Sequence[ModelVersion] = ()


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a registered model; `source` is the URI of its model folder.

    `artifact_digest` is the digest over the folder's list of file digests ("sha256:<hex>"), "" when unknown.
    """

    name: str
    version: int
    creation_timestamp: int
    last_updated_timestamp: int
    source: str
    run_id: str | None = None
    stage: Stage = Stage.NONE
    description: str = ""
    artifact_digest: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Alias:
    """Where an alias points; `generation` grows by one with each move and is never reused."""

    name: str
    alias: str
    version: int
    generation: int
    previous_version: int | None
    moved_at: int
    moved_by: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One row of an alias's history; version None means that the alias was deleted."""

    name: str
    alias: str
    generation: int
    version: int | None
    previous_version: int | None
    moved_at: int
    moved_by: str
    request_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A promotion policy as stored: which aliases of which models it protects, and what a move needs.

    `model_pattern` is a shell-style pattern over model names; `gates` are specifications that
    `prefect_ml.registry.gates` validates and evaluates; each has a unique "name".
    """

    name: str
    version: int
    model_pattern: str
    aliases: Sequence[str]
    stages: Sequence[str] = ()
    gates: Sequence[Mapping[str, Any]] = ()
    approvals: int = 1
    approvers: Sequence[str] = ()
    four_eyes: bool = False
    expires_after: float = 7 * 24 * 3600.0
    saved_at: int = 0
    saved_by: str = ""


@dataclass(frozen=True, slots=True)
class GateResult:
    """The verdict of one gate and the evidence that it rests on."""

    gate: str
    passed: bool
    summary: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's decision on a promotion request."""

    actor: str
    approve: bool
    reason: str
    decided_at: int
    channel: str = ""


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """A request to move an alias, bound to what was seen when it was made."""

    request_id: str
    key: str
    name: str
    version: int
    alias: str
    stage: str | None
    status: RequestStatus
    status_reason: str
    requester: str
    requested_at: int
    expires_at: int
    artifact_digest: str
    evidence: Sequence[GateResult]
    evidence_digest: str
    policy: str
    policy_version: int
    base_generation: int
    base_version: int | None
    decisions: Sequence[Decision] = ()
    flow_run_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the append-only audit log; `hash` covers the row and `previous_hash`."""

    sequence: int
    at: int
    actor: str
    action: str
    subject: str
    reason: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    evidence_digest: str
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """A file or folder below an artifact root; `name` is relative with forward slashes."""

    name: str
    is_folder: bool
    size: int | None = None
    digest: str | None = None
