"""Promotion requests as rows: reading them, and closing the open ones when what they are about is gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, Select, case, select, update

from prefect_ml.entities import Decision, GateResult, PromotionRequest, RequestKind, RequestStatus
from prefect_ml.errors import NotFoundError
from prefect_ml.store.audit import record
from prefect_ml.store.registry_names import clip, is_text
from prefect_ml.store.registry_tables import promotion_decisions, promotion_requests
from prefect_ml.store.rows import now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.entities import Alias

OPEN = (RequestStatus.PENDING, RequestStatus.APPROVED)
_ACTIONS = {
    RequestStatus.EXPIRED: "request-expired",
    RequestStatus.SUPERSEDED: "request-superseded",
    RequestStatus.REJECTED: "request-withdrawn",
}


def alias_subject(name: str, alias: str) -> str:
    """What audit rows call an alias."""
    return f"models:/{name}@{alias}"


def find_request(connection: Connection, request_id: str) -> Row[Any]:
    """The row of a request, its stored status not yet judged by the clock."""
    query = select(promotion_requests).where(promotion_requests.c.request_id == request_id)
    row = connection.execute(query).first() if is_text(request_id) else None
    if row is None:
        raise NotFoundError(f"There is no promotion request {request_id!r}; list them with: prefect-ml requests")
    return row


def load_requests(connection: Connection, rows: Sequence[Row[Any]]) -> list[PromotionRequest]:
    """The requests of rows, in their order; an open one whose time is over reads EXPIRED."""
    decisions: dict[int, list[Decision]] = {row.id: [] for row in rows}
    made = promotion_decisions.c
    query = select(promotion_decisions).where(made.request.in_(list(decisions)))
    for row in connection.execute(query.order_by(made.request, made.number)):
        found = (row.actor, row.approve, row.reason, row.decided_at, row.channel, row.policy, row.policy_version)
        decisions[row.request].append(Decision(*found))
    at = now()
    return [_request(row, decisions[row.id], at) for row in rows]


def load_request(connection: Connection, request_id: str) -> PromotionRequest:
    return load_requests(connection, [find_request(connection, request_id)])[0]


def listed_requests() -> Select[Any]:
    """The rows of requests with their verdicts alone in the place of the evidence, which may be long."""
    asked = promotion_requests.c
    short = case((asked.verdicts.is_(None), asked.evidence), else_=asked.verdicts).label("evidence")
    return select(*(each for each in asked if each.name not in ("evidence", "verdicts")), short)


def overdue(row: Row[Any], at: int) -> bool:
    """Whether an open request's time is over."""
    return row.status in OPEN and at >= row.expires_at


def close_request(connection: Connection, row: Row[Any], status: RequestStatus, why: str, actor: str = "") -> None:
    """Mark an open request EXPIRED, SUPERSEDED or, without a person's decision, REJECTED; with its audit row."""
    set_status(connection, row.id, status, why)
    record(
        connection,
        _ACTIONS[status],
        alias_subject(row.name, row.alias),
        actor=actor,
        reason=why,
        before={"status": row.status},
        after={"request": row.request_id, "status": status, "version": row.version},
        evidence_digest=row.evidence_digest,
    )


def set_status(connection: Connection, request: int, status: RequestStatus, why: str) -> None:
    statement = update(promotion_requests).where(promotion_requests.c.id == request)
    connection.execute(statement.values(status=status, status_reason=why))


def supersede_open(connection: Connection, name: str, version: int | None, why: str) -> None:
    """Close the open requests about a model, or about one version of it."""
    asked = promotion_requests.c
    query = select(promotion_requests).where(asked.name == name, asked.status.in_(OPEN))
    if version is not None:
        query = query.where(asked.version == version)
    at = now()
    for row in connection.execute(query.order_by(asked.id)).all():
        if overdue(row, at):
            close_request(connection, row, RequestStatus.EXPIRED, "its time is over")
        else:
            close_request(connection, row, RequestStatus.SUPERSEDED, why)


def supersede_others(connection: Connection, moved: Alias) -> None:
    """Close the open requests about an alias that moved, but the one that moved it."""
    asked = promotion_requests.c
    query = select(promotion_requests).where(asked.name == moved.name, asked.alias == moved.alias)
    query = query.where(asked.status.in_(OPEN), asked.request_id != (moved.request_id or ""))
    at = now()
    for row in connection.execute(query.order_by(asked.id)).all():
        if overdue(row, at):
            close_request(connection, row, RequestStatus.EXPIRED, "its time is over")
        else:
            close_request(connection, row, RequestStatus.SUPERSEDED, why_overtaken(row, moved), moved.moved_by)


def why_overtaken(row: Row[Any], moved: Alias | Row[Any]) -> str:
    """Why a request came too late, which names who and what was first."""
    by = f" by {moved.moved_by}" if moved.moved_by else ""
    which = f", by the request {moved.request_id}" if moved.request_id else ""
    return clip(
        f"@{row.alias} was moved to version {moved.version}{by} meanwhile (generation {moved.generation}, "
        f"not {row.base_generation}){which}"
    )


def _request(row: Row[Any], decisions: Sequence[Decision], at: int) -> PromotionRequest:
    late = overdue(row, at)
    return PromotionRequest(
        request_id=row.request_id,
        key=row.key,
        name=row.name,
        version=row.version,
        alias=row.alias,
        stage=row.stage,
        status=RequestStatus.EXPIRED if late else RequestStatus(row.status),
        status_reason="its time is over" if late else row.status_reason,
        requester=row.requester,
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        artifact_digest=row.artifact_digest,
        evidence=tuple(GateResult(**result) for result in json.loads(row.evidence)),
        evidence_digest=row.evidence_digest,
        policy=row.policy,
        policy_version=row.policy_version,
        base_generation=row.base_generation,
        base_version=row.base_version,
        decisions=tuple(decisions),
        flow_run_id=row.flow_run_id,
        kind=RequestKind(row.kind),
        reason=row.reason,
        judged_at=row.judged_at or row.requested_at,
    )
