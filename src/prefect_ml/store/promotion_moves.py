"""Carrying out what was approved: a promotion, or a rollback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, func, select

from prefect_ml.entities import Alias, RequestKind, RequestStatus, Stage
from prefect_ml.errors import NotFoundError, PromotionError, StaleRequestError
from prefect_ml.store.aliases import current_alias, existing_alias, move_alias
from prefect_ml.store.audit_proof import refuse_unproven
from prefect_ml.store.canonical import digest
from prefect_ml.store.names import check_text
from prefect_ml.store.policies import find_policy, in_force, judging, protecting_stage
from prefect_ml.store.registry_names import check_words
from prefect_ml.store.registry_rows import RegistryRows, find_version
from prefect_ml.store.registry_tables import alias_moves, promotion_decisions
from prefect_ml.store.requests import (
    close_request,
    find_request,
    overdue,
    set_status,
    supersede_others,
    why_overtaken,
)
from prefect_ml.store.rollbacks import as_moved, carry_back
from prefect_ml.store.rows import now
from prefect_ml.store.stages import ACTIVE, enter_stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect_ml.entities import Policy


class PromotionMoveRows(RegistryRows):
    def promote(self, request_id: str, *, artifact_digest: str, actor: str) -> Alias:
        check_words("The actor", actor)
        check_text("The digest", artifact_digest)

        def work(connection: Connection) -> Alias | StaleRequestError:
            row = find_request(connection, request_id)
            if row.status == RequestStatus.PROMOTED:
                return _as_moved(connection, request_id)
            if overdue(row, now()):
                close_request(connection, row, RequestStatus.EXPIRED, "its time is over", actor)
                return _stale(row, RequestStatus.EXPIRED, "its time is over")
            _refuse_unapproved(row)
            if why := too_old(connection, row, now()):
                close_request(connection, row, RequestStatus.EXPIRED, why, actor)
                return _stale(row, RequestStatus.EXPIRED, why)
            if why := next(_changes(connection, row, artifact_digest), ""):
                close_request(connection, row, RequestStatus.SUPERSEDED, why, actor)
                return _stale(row, RequestStatus.SUPERSEDED, why)
            refuse_unproven(connection, row)
            return _carry_out(connection, row, actor)

        result = self.change(work)
        if isinstance(result, StaleRequestError):  # raised only now, when the request's new state is committed
            raise result
        return result


def _as_moved(connection: Connection, request_id: str) -> Alias:
    """The alias as the request moved it, wherever it is by now."""
    return as_moved(connection.execute(select(alias_moves).where(alias_moves.c.request_id == request_id)).one())


def _refuse_unapproved(row: Row[Any]) -> None:
    why = f" ({row.status_reason})" if row.status_reason else ""
    if row.status in (RequestStatus.SUPERSEDED, RequestStatus.EXPIRED):
        raise _stale(row, row.status, row.status_reason)
    if row.status != RequestStatus.APPROVED:
        raise PromotionError(
            f"The request {row.request_id} is {row.status}{why}; only an approved one moves its alias. "
            f"Approve it first: prefect-ml approve {row.request_id}"
            if row.status == RequestStatus.PENDING
            else f"The request {row.request_id} is {row.status}{why}; ask for the promotion again."
        )


def too_old(connection: Connection, row: Row[Any], at: int) -> str:
    """Why the approval does not count any more, in words; "" when it does."""
    valid = find_policy(connection, row.policy, row.policy_version).approval_valid_for
    made = promotion_decisions.c
    last = select(func.max(made.decided_at)).where(made.request == row.id, made.approve.is_(True))
    approved_at = connection.execute(last).scalar() or row.requested_at
    if not valid or at - approved_at <= valid * 1000:
        return ""
    return (
        f"it was approved {_seconds(at - approved_at)} seconds ago, and by the policy {row.policy!r} an approval "
        f"counts for {valid:g}"
    )


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.0f}"


def _changes(connection: Connection, row: Row[Any], artifact_digest: str) -> Iterator[str]:
    """What the request no longer matches, in words; nothing when it may be carried out."""
    try:
        version = find_version(connection, row.name, row.version)
    except NotFoundError:
        yield f"version {row.version} of {row.name!r} was deleted"
        return
    if not artifact_digest == version.artifact_digest == row.artifact_digest:
        yield "the artifact is not the one that was asked for"
    if digest(row.evidence) != row.evidence_digest:
        yield "the evidence was changed"
    if why := _stale_evidence(connection, row, now()):
        yield why
    found = in_force(connection)
    rules = judging(found, row.name, row.alias, [row.stage, version.stage] if row.stage else [])
    if rules is not None and (rules.name, rules.version) != (row.policy, row.policy_version):
        yield f"the policy in force is version {rules.version} of {rules.name!r} now"
    if other := _other_stage_policy(found, row, version.stage):
        yield f"the policy {other.name!r} protects the stage now"
    current = current_alias(connection, version.model, row.alias)
    if current is None and row.base_generation:
        yield f"@{row.alias} was deleted meanwhile"
    if current is not None and current.generation != row.base_generation:
        yield why_overtaken(row, current)


def _stale_evidence(connection: Connection, row: Row[Any], at: int) -> str:
    """Why what the gates found does not count any more, in words; "" when it does."""
    for result in json.loads(row.evidence):
        if result["evidence"].get("champion_generation", row.base_generation) != row.base_generation:
            return f"the gate {result['gate']!r} compared with another champion than the one at the time of the request"
    valid = find_policy(connection, row.policy, row.policy_version).evidence_valid_for
    judged_at = row.judged_at or row.requested_at
    if row.kind == RequestKind.ROLLBACK or not valid or at - judged_at <= valid * 1000:
        return ""
    return (
        f"its gates were judged {_seconds(at - judged_at)} seconds ago, and by the policy {row.policy!r} their results "
        f"count for {valid:g}"
    )


def _other_stage_policy(found: list[Policy], row: Row[Any], current_stage: str) -> Policy | None:
    """A policy other than the request's that protects a stage which the move would change."""
    own = next((policy for policy in found if policy.name == row.policy), None)
    for stage in (row.stage, current_stage) if row.stage else ():
        other = protecting_stage(found, row.name, stage)
        if other is not None and (own is None or stage not in own.stages):
            return other
    return None


def _carry_out(connection: Connection, row: Row[Any], actor: str) -> Alias:
    moved = _back(connection, row, actor) if row.kind == RequestKind.ROLLBACK else _forward(connection, row, actor)
    why = f"moved to version {row.version}, generation {moved.generation}"
    set_status(connection, row.id, RequestStatus.PROMOTED, why)
    return moved


def _back(connection: Connection, row: Row[Any], actor: str) -> Alias:
    current = existing_alias(connection, row.name, row.alias)
    rules = find_policy(connection, row.policy, row.policy_version)
    said = {"actor": actor, "reason": row.reason, "request_id": row.request_id, "evidence_digest": row.evidence_digest}
    return carry_back(connection, row.name, current, rules, **said)


def _forward(connection: Connection, row: Row[Any], actor: str) -> Alias:
    model = find_version(connection, row.name, row.version).model
    reason, stages = f"promotion request {row.request_id}", {}
    if row.stage:
        stage, archive = Stage(row.stage), Stage(row.stage) in ACTIVE
        stages = enter_stage(
            connection, row.name, model, row.version, stage, archive_existing=archive, actor=actor, reason=reason
        )
    moved = move_alias(
        connection, row.name, model, row.alias, row.version,
        action="promoted", actor=actor, reason=reason, evidence_digest=row.evidence_digest,
        request_id=row.request_id, stage=row.stage, stages=stages,
    )  # fmt: skip
    supersede_others(connection, moved)
    return moved


def _stale(row: Row[Any], status: RequestStatus, why: str) -> StaleRequestError:
    return StaleRequestError(
        f"The request {row.request_id} to move @{row.alias} of {row.name!r} to version {row.version} is {status}: "
        f"{why}. Ask for the promotion again if it is still wanted."
    )
