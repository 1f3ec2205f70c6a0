"""Registered models, aliases, promotions and their audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect_ml.entities.words import RequestKind, RequestStatus, Stage


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

    Attributes:
        artifact_digest: digest over the folder's list of file digests ("sha256:<hex>"), "" when unknown.
        model_id: the logged model that it is of; "" when unknown.
        run_link: a URL of the run, where that is not of this store.
        location: where its files are when `source` is another version or a logged model; "" for `source` itself.
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
    model_id: str = ""
    run_link: str = ""
    location: str = ""


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

    Attributes:
        expires_after: seconds that a request stays open.
        approval_valid_for: seconds from the last approval within which the alias must move; 0 for no bound but the
            request's own.
        evidence_valid_for: seconds that the results of gates may be old when the alias moves; 0 for no bound.
        canary: {"alias": str, "seconds": float}: this alias points at the version for so long before the move, and
            then the gates are judged again.
        soak: {"seconds": float}: the gates are judged again so long after the move, which is rolled back when one
            fails.
        on_rejection: {"tags": {str: str}, "drop_aliases": [str]}: what is done to a version that is rejected.
        emergency: who may roll back at once, without approvals; "*" is anyone.
        on_decay: what becomes of an alias whose version fails its gates later: "nothing", "rollback" or "remove".
        notify: notification blocks of Prefect, as "slack-webhook/oncall".
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
    approval_valid_for: float = 0.0
    evidence_valid_for: float = 0.0
    canary: Mapping[str, Any] | None = None
    soak: Mapping[str, Any] | None = None
    on_rejection: Mapping[str, Any] | None = None
    emergency: Sequence[str] = ()
    on_decay: str = "nothing"
    notify: Sequence[str] = ()
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
class RecordedGate:
    """A gate's result as it was recorded when it was judged, with what it is about.

    Attributes:
        key: of the request that it is for.
        name: of the model.
        version: that was judged.
        alias: that it asks for.
        spec_digest: of the gate's specification.
        artifact_digest: of the version's files.
        champion_generation: of the alias, 0 when it was not set.
        result: the verdict.
        at: when it was recorded, in milliseconds since the epoch; the store says it.
    """

    key: str
    name: str
    version: int
    alias: str
    spec_digest: str
    artifact_digest: str
    champion_generation: int
    result: GateResult
    at: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's decision on a promotion request; its time and policy are the store's to say.

    Attributes:
        policy: by which the person was entitled to decide, and its version.
    """

    actor: str
    approve: bool
    reason: str
    decided_at: int
    channel: str = ""
    policy: str = ""
    policy_version: int = 0


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """A request to move an alias, bound to what was seen when it was made.

    Attributes:
        kind: whether it goes forward or back.
        reason: why it is asked for.
        judged_at: when the oldest of its gates' results was recorded, in milliseconds since the epoch.
        evidence: in lists without what the results rest on.
    """

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
    kind: RequestKind = RequestKind.PROMOTION
    reason: str = ""
    judged_at: int = 0


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the append-only audit log; `hash` covers the row and `previous_hash`.

    Attributes:
        origin: from where the change came: "channel", "host", "flow_run", "client" (the address of a request's sender),
            "agent", "claimed" (what a client says of itself); empty in rows of before it was kept.
    """

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
    origin: Mapping[str, Any] = field(default_factory=dict)
