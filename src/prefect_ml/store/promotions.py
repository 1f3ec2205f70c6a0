"""Promotion requests: asked, decided on, and carried out; each step one transaction."""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, and_, insert, or_, select

from prefect_ml.entities import Decision, GateResult, Policy, PromotionRequest, RequestStatus
from prefect_ml.errors import InvalidInputError, NotAllowedError, PromotionError
from prefect_ml.store import registry_names as names
from prefect_ml.store.aliases import current_alias
from prefect_ml.store.audit import record
from prefect_ml.store.audit_gates import gates_digest
from prefect_ml.store.audit_told import decision_words, request_words
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.names import check_text, check_time
from prefect_ml.store.paging import check_page_size
from prefect_ml.store.policies import find_policy, in_force, protecting_alias, protecting_stage
from prefect_ml.store.registry_rows import RegistryRows, find_version
from prefect_ml.store.registry_tables import promotion_decisions, promotion_requests
from prefect_ml.store.requests import (
    OPEN,
    alias_subject,
    close_request,
    find_request,
    load_request,
    load_requests,
    overdue,
    set_status,
)
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
    ) -> PromotionRequest:
        """See `PromotionStore.create_request`.

        Raises:
            NotFoundError: there is no such version.
            PromotionError: the policy is not the one that protects the alias now, or not the stage's.
            InvalidInputError: the digest is not the version's, or the evidence is no JSON.
        """
        document = canonical("The evidence", [_document(result) for result in evidence])
        values: dict[str, Any] = {
            "key": names.check_words("The key", key, needed=True),
            "name": name,
            "version": names.check_version(version),
            "alias": names.check_alias(alias),
            "stage": None if stage is None else names.check_stage(stage).value,
            "requester": names.check_words("The requester", requester, needed=True),
            "artifact_digest": names.check_words("The digest", artifact_digest),
            "evidence": document,
            "evidence_digest": digest(document),
            "flow_run_id": None if flow_run_id is None else check_text("A flow run id", flow_run_id),
        }

        def work(connection: Connection) -> PromotionRequest:
            known = connection.execute(_by_key(key)).first()
            if known is not None:
                return load_request(connection, known.request_id)
            found = find_version(connection, name, version)
            if found.artifact_digest != artifact_digest:
                raise InvalidInputError(
                    f"The digest given is not that of version {version} of {name!r}; ask with the recorded one, "
                    f"{found.artifact_digest!r}."
                )
            rules = _policy_to_ask(connection, values, policy, policy_version, found.stage)
            return _insert(connection, found.model, values, rules, evidence)

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
    ) -> Sequence[PromotionRequest]:
        check_page_size(max_results, _MAX_LISTED)
        query = select(promotion_requests).order_by(promotion_requests.c.id.desc()).limit(max_results)
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
        names.check_words("The actor of a decision", decision.actor, needed=True)
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
            _add_decision(connection, row, request, decision, rules.approvals)
            return load_request(connection, request_id)

        return _raised(self.change(work))


def _document(result: GateResult) -> dict[str, Any]:
    fields: dict[str, Any] = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return fields | {"evidence": dict(result.evidence)}


def _by_key(key: str) -> Any:
    return select(promotion_requests).where(promotion_requests.c.key == key)


def _policy_to_ask(
    connection: Connection, asked: dict[str, Any], policy: str, policy_version: int, current_stage: str
) -> Policy:
    """The policy that protects the alias now, which must be the one that the gates were taken from.

    A stage that the move would change may be protected by the same policy, but by no other.
    """
    found = in_force(connection)
    rules = protecting_alias(found, asked["name"], asked["alias"])
    if rules is None or (rules.name, rules.version) != (policy, policy_version):
        actual = "no policy" if rules is None else f"version {rules.version} of the policy {rules.name!r}"
        raise PromotionError(
            f"The alias {asked['alias']!r} of model {asked['name']!r} is protected by {actual}, not by version "
            f"{policy_version} of {policy!r}. Evaluate the gates of the policy in force, and ask again."
        )
    for stage in (asked["stage"], current_stage) if asked["stage"] else ():
        other = protecting_stage(found, asked["name"], stage)
        if other is not None and stage not in rules.stages:
            raise PromotionError(
                f"The stage {stage!r} of model {asked['name']!r} is protected by the policy {other.name!r}, and "
                f"the request is under {rules.name!r}. Ask without a stage, or add the stage to {rules.name!r}."
            )
    return rules


def _insert(
    connection: Connection, model: int, asked: dict[str, Any], rules: Policy, evidence: Sequence[GateResult]
) -> PromotionRequest:
    status, why = _birth(rules, evidence)
    current = current_alias(connection, model, asked["alias"])
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


def _birth(rules: Policy, evidence: Iterable[GateResult]) -> tuple[RequestStatus, str]:
    """The status of a new request, and why."""
    results = list(evidence)
    failed = next((result for result in results if result.passed is not True), None)
    if failed is not None:
        return RequestStatus.REJECTED, names.clip(f"the gate {failed.gate!r} failed: {failed.summary}")
    missing = sorted({str(gate["name"]) for gate in rules.gates} - {result.gate for result in results})
    if missing:
        return RequestStatus.REJECTED, names.clip(f"there is no evidence for the gate {missing[0]!r}")
    if rules.approvals == 0:
        return RequestStatus.APPROVED, "its gates passed, and the policy asks for no approval"
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
    connection.execute(insert(promotion_decisions), made | numbered | timed)
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
            **decision_words(made | numbered | timed),
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
