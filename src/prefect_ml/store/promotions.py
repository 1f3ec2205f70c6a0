"""Promotion requests: asked, decided on, and carried out; each step one transaction."""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, and_, insert, or_, select

from prefect_ml.entities import Decision, GateResult, Policy, PromotionRequest, RequestKind, RequestStatus
from prefect_ml.errors import InvalidInputError, NotAllowedError, PromotionError
from prefect_ml.store import registry_names as names
from prefect_ml.store.aliases import current_alias
from prefect_ml.store.audit import record
from prefect_ml.store.audit_gates import gates_digest
from prefect_ml.store.audit_told import decision_words, request_words
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.evidence import check_evidence
from prefect_ml.store.names import check_text, check_time
from prefect_ml.store.paging import check_page_size
from prefect_ml.store.policies import find_policy, in_force, judging, protecting_stage
from prefect_ml.store.registry_rows import RegistryRows, find_version
from prefect_ml.store.registry_tables import promotion_decisions, promotion_requests
from prefect_ml.store.requests import (
    OPEN,
    alias_subject,
    close_request,
    find_request,
    listed_requests,
    load_request,
    load_requests,
    overdue,
    set_status,
)
from prefect_ml.store.rollbacks import check_way_back, stages_of_the_way_back
from prefect_ml.store.rows import now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LATE = "its time is over"
# Within the number of parameters that both databases take.
_MAX_LISTED = 10_000


class PromotionRows(RegistryRows):
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
        """See `PromotionStore.create_request`.

        Raises:
            NotFoundError: there is no such version.
            PromotionError: the policy is not the one that judges the move now, or not the stage's; or the alias cannot
                go back to the version.
            StaleRequestError: the evidence is about another champion than the one of now.
            InvalidInputError: the key names a request about something else, the digest is not the version's, or the
                evidence is no JSON, about other files, or not what was recorded when the gates were judged.
        """
        document = canonical("The evidence", [_document(result) for result in evidence])
        verdicts = canonical("The verdicts", [_document(result) | {"evidence": {}} for result in evidence])
        back = RequestKind(kind) is RequestKind.ROLLBACK
        if back and stage is not None:
            raise InvalidInputError("A rollback restores the stages that the move had set; ask for it without a stage.")
        values: dict[str, Any] = {
            "key": names.check_words("The key", key, needed=True),
            "name": name,
            "version": names.check_version(version),
            "alias": names.check_alias(alias),
            "stage": None if stage is None else names.check_stage(stage).value,
            "requester": names.check_words("The requester", requester, names.MAX_ACTOR, needed=True),
            "artifact_digest": names.check_words("The digest", artifact_digest),
            "evidence": document,
            "evidence_digest": digest(document),
            "verdicts": verdicts,
            "kind": RequestKind(kind),
            "reason": names.check_words("The reason of a rollback" if back else "The reason", reason, needed=back),
            "flow_run_id": None if flow_run_id is None else check_text("A flow run id", flow_run_id),
        }

        def work(connection: Connection) -> PromotionRequest:
            known = connection.execute(_by_key(key)).first()
            if known is not None:
                _refuse_another(known, values)
                return load_request(connection, known.request_id)
            found = find_version(connection, name, version)
            if found.artifact_digest != artifact_digest:
                raise InvalidInputError(
                    f"The digest given is not that of version {version} of {name!r}; ask with the recorded one, "
                    f"{found.artifact_digest!r}."
                )
            current = current_alias(connection, found.model, values["alias"])
            judged_at = check_evidence(connection, values, evidence, 0 if current is None else current.generation)
            stages = [values["stage"], found.stage] if values["stage"] else []
            if back:
                stages = stages_of_the_way_back(connection, name, values["alias"])
            rules = _policy_to_ask(connection, values, policy, policy_version, stages)
            if back:
                check_way_back(connection, name, values["alias"], found)
            return _insert(connection, current, values | {"judged_at": judged_at}, rules, evidence)

        return self.change(work)

    def get_request(self, request_id: str) -> PromotionRequest:
        with self.database.read() as connection:
            return load_request(connection, request_id)

    def get_request_by_key(self, key: str) -> PromotionRequest | None:
        check_text("The key", key)
        with self.database.read() as connection:
            rows = connection.execute(_by_key(key)).all()
            return load_requests(connection, rows)[0] if rows else None

    def list_requests(
        self,
        *,
        name: str | None = None,
        status: RequestStatus | None = None,
        max_results: int = 100,
        before: str | None = None,
        with_evidence: bool = False,
    ) -> Sequence[PromotionRequest]:
        check_page_size(max_results, _MAX_LISTED)
        whole = select(promotion_requests) if with_evidence else listed_requests()
        query = whole.order_by(promotion_requests.c.id.desc()).limit(max_results)
        if name is not None:
            query = query.where(promotion_requests.c.name == check_text("The name of a registered model", name))
        if status is not None:
            query = query.where(_has_status(RequestStatus(status), now()))
        with self.database.read() as connection:
            if before is not None:
                query = query.where(promotion_requests.c.id < find_request(connection, before).id)
            return load_requests(connection, connection.execute(query).all())

    def decide(self, request_id: str, decision: Decision) -> PromotionRequest:
        if not isinstance(decision.approve, bool):
            raise InvalidInputError(f"A decision approves or not: True or False, got {decision.approve!r}.")
        names.check_words("The actor of a decision", decision.actor, names.MAX_ACTOR, needed=True)
        names.check_words("The reason of a decision", decision.reason)
        names.check_words("The channel of a decision", decision.channel)
        check_time("The time of a decision", decision.decided_at)
        if not decision.approve:
            names.check_words("The reason of a rejection", decision.reason, needed=True)

        def work(connection: Connection) -> PromotionRequest | PromotionError:
            row = find_request(connection, request_id)
            request = load_requests(connection, [row])[0]
            if _last_words(request.decisions).get(names.person(decision.actor)) == decision.approve:
                return request
            if overdue(row, now()):
                close_request(connection, row, RequestStatus.EXPIRED, _LATE)
            if request.status is not RequestStatus.PENDING:
                return _not_pending(request)
            rules = find_policy(connection, request.policy, request.policy_version)
            _refuse_unentitled(request, rules, decision.actor)
            said = dataclasses.replace(
                decision, decided_at=now(), policy=request.policy, policy_version=request.policy_version
            )
            _add_decision(connection, row, request, said, rules.approvals)
            return load_request(connection, request_id)

        return _raised(self.change(work))


def _document(result: GateResult) -> dict[str, Any]:
    fields: dict[str, Any] = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return fields | {"evidence": dict(result.evidence)}


def _by_key(key: str) -> Any:
    return select(promotion_requests).where(promotion_requests.c.key == key)


def _refuse_another(known: Row[Any], asked: dict[str, Any]) -> None:
    """Refuse a key that names a request about something else."""
    for what in ("name", "version", "alias", "stage", "kind"):
        if getattr(known, what) != asked[what]:
            raise InvalidInputError(
                f"The key {known.key!r} names the request {known.request_id}, whose {what} is {getattr(known, what)!r} "
                f"and not {asked[what]!r}; ask under a key of its own."
            )


def _policy_to_ask(
    connection: Connection, asked: dict[str, Any], policy: str, policy_version: int, stages: Sequence[str]
) -> Policy:
    """The policy that judges the move now, which must be the one that the gates were taken from.

    A stage that a promotion would change may be protected by the same policy, but by no other; a rollback leaves the
    stages of others as they are.
    """
    found = in_force(connection)
    rules = judging(found, asked["name"], asked["alias"], stages)
    if rules is None or (rules.name, rules.version) != (policy, policy_version):
        actual = "no policy" if rules is None else f"version {rules.version} of the policy {rules.name!r}"
        raise PromotionError(
            f"The alias {asked['alias']!r} of model {asked['name']!r} is protected by {actual}, not by version "
            f"{policy_version} of {policy!r}. Evaluate the gates of the policy in force, and ask again."
        )
    for stage in stages if asked["kind"] is RequestKind.PROMOTION else ():
        other = protecting_stage(found, asked["name"], stage)
        if other is not None and stage not in rules.stages:
            raise PromotionError(
                f"The stage {stage!r} of model {asked['name']!r} is protected by the policy {other.name!r}, and "
                f"the request is under {rules.name!r}. Ask without a stage, or add the stage to {rules.name!r}."
            )
    return rules


def _insert(
    connection: Connection,
    current: Row[Any] | None,
    asked: dict[str, Any],
    rules: Policy,
    evidence: Sequence[GateResult],
) -> PromotionRequest:
    status, why = _birth(rules, evidence, asked["kind"])
    at = now()
    request_id = uuid.uuid4().hex
    values = asked | {
        "request_id": request_id,
        "status": status,
        "status_reason": why,
        "requested_at": at,
        "expires_at": at + max(1, round(rules.expires_after * 1000)),
        "policy": rules.name,
        "policy_version": rules.version,
        "base_generation": 0 if current is None else current.generation,
        "base_version": None if current is None else current.version,
    }
    made = insert(promotion_requests).values(values).returning(promotion_requests.c.id)
    number = connection.execute(made).scalar_one()
    record(
        connection,
        "request-created",
        alias_subject(asked["name"], asked["alias"]),
        actor=asked["requester"],
        reason=why,
        before={"version": values["base_version"], "generation": values["base_generation"]},
        after={
            "request": request_id,
            "status": status,
            **request_words(values | {"id": number, "gates": gates_digest(connection, asked["key"])}),
        },
        evidence_digest=asked["evidence_digest"],
    )
    return load_request(connection, request_id)


def _birth(rules: Policy, evidence: Iterable[GateResult], kind: RequestKind) -> tuple[RequestStatus, str]:
    """The status of a new request, and why; a version that was approved once passes no gates to come back."""
    results = list(evidence)
    failed = next((result for result in results if result.passed is not True), None)
    if failed is not None:
        return RequestStatus.REJECTED, names.clip(f"the gate {failed.gate!r} failed: {failed.summary}")
    missing = sorted({str(gate["name"]) for gate in rules.gates} - {result.gate for result in results})
    if missing and kind is RequestKind.PROMOTION:
        return RequestStatus.REJECTED, names.clip(f"there is no evidence for the gate {missing[0]!r}")
    if rules.approvals == 0:
        passed = "its gates passed, and " if kind is RequestKind.PROMOTION else ""
        return RequestStatus.APPROVED, f"{passed}the policy asks for no approval"
    return RequestStatus.PENDING, ""


def _has_status(status: RequestStatus, at: int) -> Any:
    """The condition for what a request reads as at a time."""
    asked = promotion_requests.c
    same = asked.status == status
    if status in OPEN:
        return and_(same, asked.expires_at > at)
    if status is RequestStatus.EXPIRED:
        return or_(same, and_(asked.status.in_(OPEN), asked.expires_at <= at))
    return same


def _not_pending(request: PromotionRequest) -> PromotionError:
    why = f" ({request.status_reason})" if request.status_reason else ""
    return PromotionError(
        f"The request {request.request_id} is {request.status}{why}, so nothing is left to decide; "
        "ask for the promotion again if it is still wanted."
    )


def _refuse_unentitled(request: PromotionRequest, rules: Policy, actor: str) -> None:
    if rules.four_eyes and names.person(actor) == names.person(request.requester):
        raise NotAllowedError(
            f"{actor!r} asked for the promotion {request.request_id}, and the policy {rules.name!r} wants four eyes; "
            "somebody else must decide."
        )
    if rules.approvers and actor not in rules.approvers:
        raise NotAllowedError(
            f"{actor!r} is no approver of the policy {rules.name!r}; ask one of {', '.join(rules.approvers)}."
        )


def _add_decision(
    connection: Connection, row: Row[Any], request: PromotionRequest, decision: Decision, needed: int
) -> None:
    """Keep a decision, and what the request becomes by it."""
    made = {"actor": decision.actor, "approve": decision.approve, "reason": decision.reason}
    numbered = {"request": row.id, "number": len(request.decisions) + 1}
    timed = {"decided_at": decision.decided_at, "channel": decision.channel}
    ruled = {"policy": decision.policy, "policy_version": decision.policy_version}
    connection.execute(insert(promotion_decisions), made | numbered | timed | ruled)
    approvals = sum(_last_words([*request.decisions, decision]).values())
    status, why = RequestStatus.PENDING, ""
    if not decision.approve:
        status, why = RequestStatus.REJECTED, names.clip(f"{decision.actor} rejected it: {decision.reason}")
    elif approvals >= needed:
        status = RequestStatus.APPROVED
        approving = dict.fromkeys(each.actor for each in (*request.decisions, decision) if each.approve)
        why = names.clip(f"approved by {', '.join(approving)}")
    set_status(connection, row.id, status, why)
    record(
        connection,
        "request-approved" if decision.approve else "request-rejected",
        alias_subject(row.name, row.alias),
        actor=decision.actor,
        reason=decision.reason,
        before={"status": row.status},
        after={
            "request": row.request_id,
            "status": status,
            "version": row.version,
            "approvals": f"{approvals} of {needed}",
            "why": why,
            **decision_words(made | numbered | timed | ruled),
        },
        evidence_digest=row.evidence_digest,
    )


def _last_words(decisions: Iterable[Decision]) -> dict[str, bool]:
    """What each person said last."""
    return {names.person(each.actor): each.approve for each in decisions}


def _raised(result: PromotionRequest | PromotionError) -> PromotionRequest:
    """A result, or the error that is told only after its state change is committed."""
    if isinstance(result, PromotionError):
        raise result
    return result
