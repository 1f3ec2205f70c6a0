"""The part of the store's port that is about policies, promotions and the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prefect_ml.entities import (
    Alias,
    AuditEntry,
    Decay,
    Decision,
    GateResult,
    Policy,
    PromotionRequest,
    RecordedGate,
    RequestKind,
    RequestStatus,
)


class PromotionStore(Protocol):
    """Policies, promotion requests and the audit log."""

    def save_policy(self, policy: Policy, *, actor: str, reason: str = "") -> Policy:
        """Store the next version of a policy (the version given is ignored); the same content again changes nothing.

        Raises `ProtectedError` when it takes or weakens the protection of a set alias or used stage without a reason.
        """
        ...

    def get_policy(self, name: str, version: int | None = None) -> Policy: ...

    def list_policies(self) -> Sequence[Policy]: ...

    def policy_for(self, name: str, alias: str, *, stages: Sequence[str] = ()) -> Policy | None:
        """The policy that protects an alias of a model, if any; the first by policy name when several match.

        Where none does, the one that protects the first of `stages` (those that a version would enter or leave): it
        judges promotions to that stage with any such alias.
        """
        ...

    def get_gate_results(self, key: str) -> Sequence[RecordedGate]:
        """What gates found for the request of a key, whether or not it was made yet, in the order of its time."""
        ...

    def record_gate_result(self, recorded: RecordedGate) -> RecordedGate:
        """Keep what a gate found, and return it with its time.

        Of several results of one gate for one key, the first is kept and returned, as long as it is about the same
        (version, specification, files, champion); else the new one takes its place.
        """
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
        kind: RequestKind = RequestKind.PROMOTION,
        reason: str = "",
    ) -> PromotionRequest:
        """Record a request; the same key again returns the one that is there, and is refused for another subject.

        Born REJECTED when a gate failed or the evidence lacks one of the policy's gates, APPROVED when the policy asks
        for no approvals, else PENDING. `base_generation` is the alias's generation now (0 when it does not exist).

        A rollback needs the same approvals, no gates, and a reason; it asks for the alias's previous version, which
        must have been promoted to it before. `promote` carries it out.
        """
        ...

    def get_request(self, request_id: str) -> PromotionRequest:
        """The request; one whose time is over reads EXPIRED."""
        ...

    def get_request_by_key(self, key: str) -> PromotionRequest | None: ...

    def list_requests(
        self,
        *,
        name: str | None = None,
        status: RequestStatus | None = None,
        max_results: int = 100,
        before: str | None = None,
        with_evidence: bool = False,
    ) -> Sequence[PromotionRequest]:
        """Newest first; with `before`, those that were asked before the request of that id.

        Their evidence is each gate's verdict alone, without what it rests on, unless that is asked for.
        """
        ...

    def decide(self, request_id: str, decision: Decision) -> PromotionRequest:
        """Record one decision, at the store's time. The same actor's same decision again changes nothing.

        Raises `PromotionError` when the request is not PENDING, `NotAllowedError` when the actor is no approver or is
        the requester under four eyes, `InvalidInputError` for a rejection without a reason.
        """
        ...

    def withdraw_request(self, request_id: str, *, actor: str, reason: str) -> PromotionRequest:
        """Close an open request as REJECTED without a person's decision; a closed one stays as it is."""
        ...

    def expire_requests(self) -> Sequence[PromotionRequest]:
        """Close the open requests whose time is over, and return them; call again until none is returned."""
        ...

    def promote(self, request_id: str, *, artifact_digest: str, actor: str) -> Alias:
        """Move the alias for an APPROVED request, in one transaction; again for a PROMOTED one: the alias it moved.

        Checks expiry, how old the approval and the evidence may be by the policy, that `artifact_digest` and the
        version's are the request's, that the evidence still has its digest, and that the alias is at
        `base_generation`: else `StaleRequestError` (the request becomes SUPERSEDED or EXPIRED). The other open requests
        about the alias become SUPERSEDED, with the reason that this one was first.
        """
        ...

    def rollback(
        self,
        name: str,
        alias: str,
        *,
        actor: str,
        reason: str,
        key: str | None = None,
        expected_generation: int | None = None,
        artifact_digest: str | None = None,
        failed_soak: str | None = None,
    ) -> Alias:
        """Move an alias back to its previous version without a request, generation + 1, in one transaction, audited.

        The stages that the move had set are restored. An unprotected alias may go back for anyone. A protected one
        does so for those whom its policy's emergency clause names ("emergency-rollback" in the audit log), or when a
        gate failed in the soak of the request `failed_soak` that moved it (results recorded under
        `store.evidence.trial_key(request.key, "soak")`); else `ProtectedError`: ask by `create_request`.

        Args:
            name: of the model.
            alias: that goes back.
            actor: who moves it.
            reason: why.
            key: makes the call idempotent: a second one returns the alias as the first moved it.
            expected_generation: where the alias must be, so that it does not go back twice; `StaleRequestError`.
            artifact_digest: of the version's files as they are now; another one than the registered is refused.
            failed_soak: the id of a request.
        """
        ...

    def record_decay(
        self,
        name: str,
        alias: str,
        *,
        generation: int,
        evidence: Sequence[GateResult],
        actor: str,
        reason: str,
        previous_intact: bool = True,
    ) -> Decay:
        """Record that the version at a protected alias fails its gates by now, and do what the policy in force says.

        One transaction, with the audit row "decayed". An alias that is not at `generation` is left alone. It goes not
        back to a version whose files are not `previous_intact`, or that decayed itself when it held the alias last.
        """
        ...

    def told_up_to(self, name: str) -> int:
        """The sequence number of the last audit row that this one has told of, 0 at first."""
        ...

    def set_told(self, name: str, sequence: int) -> None:
        """Note how far this one has told of the audit log; a number below the one noted changes nothing."""
        ...

    def audit(self, *, subject: str | None = None, after: int = 0, max_results: int = 1000) -> Sequence[AuditEntry]:
        """Audit rows in order, those with a sequence greater than `after`."""
        ...

    def verify_audit(self) -> int:
        """Check the whole chain and return its length; `CorruptArtifactError` naming the first bad row."""
        ...
