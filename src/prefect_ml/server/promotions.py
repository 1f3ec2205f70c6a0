"""Promotion requests over REST: who waits for a decision on what, and deciding it.

Beside the calls of `HttpStore`, whose names are those of methods and so never have a hyphen. What decides is the same
function as everywhere; the time is the server's.
"""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING, Any

from pydantic import Field
from typing_extensions import TypedDict

from prefect_ml.entities import PromotionRequest, RequestStatus
from prefect_ml.errors import InvalidInputError
from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.fields import Int64, Text
from prefect_ml.protocol.route import Route
from prefect_ml.protocol.wire import Request
from prefect_ml.registry import promotion
from prefect_ml.store.calls import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = f"{PREFIX}promotion-requests"
_CHANNEL = "rest"
_MOST = 1000
_UNTOLD = (
    "The server has no PREFECT_API_URL: a flow run that watches the request goes on by itself, a suspended one with "
    "the next run of `prefect-ml reconcile` or of the deployment reconcile-runs."
)
_REQUEST_ID = "5f0c6f5e0c3d4a53a0c1c6a0f6f1e9b2"


class ListPromotionRequests(Request):
    model: Text | None = Field(None, description="Only those of this registered model.", examples=["churn"])
    status: Text | None = Field(
        None, description=f"Only those in this state: {', '.join(RequestStatus)}.", examples=["PENDING"]
    )
    max_results: Int64 = Field(100, description="1 to 1,000.", examples=[50])
    page_token: Text | None = Field(None, description="The `next_page_token` of the page before.")


class PromotionRequestId(Request):
    request_id: Text = Field(examples=[_REQUEST_ID], description="As in the list.")


class ApprovePromotionRequest(PromotionRequestId):
    actor: Text = Field(examples=["ana"], description="Who approves; kept with the request, and in the audit log.")
    reason: Text = Field("", examples=["better on every slice"], description="Why; may be empty.")


class RejectPromotionRequest(PromotionRequestId):
    actor: Text = Field(examples=["ana"], description="Who rejects; kept with the request, and in the audit log.")
    reason: Text = Field(examples=["worse for new customers"], description="Why; a rejection needs a reason.")


class DecisionTold(TypedDict):
    actor: str
    approve: bool
    reason: str
    decided_at: str
    channel: str


class GateTold(TypedDict):
    gate: str
    passed: bool
    summary: str


class GateTruth(GateTold):
    evidence: dict[str, Any]


class RequestTold(TypedDict):
    """Times are in ISO 8601, UTC."""

    request_id: str
    model: str
    version: int
    alias: str
    stage: str | None
    status: str
    status_reason: str
    requester: str
    requested_at: str
    expires_at: str
    artifact_digest: str
    evidence_digest: str
    policy: str
    policy_version: int
    base_version: int | None
    base_generation: int
    flow_run_id: str | None
    gates: list[GateTold]
    decisions: list[DecisionTold]


class WholeRequest(RequestTold):
    evidence: list[GateTruth]


class OneRequest(TypedDict):
    promotion_request: WholeRequest


class SomeRequests(TypedDict):
    promotion_requests: list[RequestTold]
    next_page_token: str


class DecidedRequest(TypedDict):
    """`resumed`: whether a suspended flow run goes on because of it; `note`: why it was not told, if so."""

    promotion_request: WholeRequest
    resumed: bool
    note: str


def list_requests(here: Backend, request: ListPromotionRequests) -> SomeRequests:
    """List promotion requests, newest first.

    A request that nobody decided in time reads EXPIRED. The evidence of gates is in each request, not in the list.
    """
    if not 1 <= request.max_results <= _MOST:
        raise InvalidInputError(f"max_results must be between 1 and {_MOST}, got {request.max_results}.")
    found = here.store.list_requests(
        name=request.model,
        status=_status(request.status),
        max_results=request.max_results,
        before=request.page_token,
    )
    token = found[-1].request_id if len(found) == request.max_results else ""
    return {"promotion_requests": [_told(each) for each in found], "next_page_token": token}


def get_request(here: Backend, request: PromotionRequestId) -> OneRequest:
    """Get a promotion request, with what each gate found and what people decided."""
    return {"promotion_request": _whole(here.store.get_request(request.request_id))}


def approve_request(here: Backend, request: ApprovePromotionRequest) -> DecidedRequest:
    """Approve a promotion request; with the last approval that the policy asks for, its flow run moves the alias.

    The same person's same decision again changes nothing, and wakes the flow run again.
    """
    return _decide(here, request, approve=True)


def reject_request(here: Backend, request: RejectPromotionRequest) -> DecidedRequest:
    """Reject a promotion request for good, with a reason; its flow run ends."""
    return _decide(here, request, approve=False)


def _decide(here: Backend, asked: ApprovePromotionRequest | RejectPromotionRequest, *, approve: bool) -> DecidedRequest:
    if os.environ.get("PREFECT_API_URL"):
        from prefect_ml.flowruns import waiting  # noqa: PLC0415 - only a server that knows a Prefect API pays for it

        decided = waiting.decide(
            here.store, asked.request_id, approve=approve, actor=asked.actor, reason=asked.reason, channel=_CHANNEL
        )
        return _decided(decided.request, resumed=decided.resumed, note=decided.problem)
    found = promotion.decide(
        here.store, asked.request_id, approve=approve, actor=asked.actor, reason=asked.reason, channel=_CHANNEL
    )
    waits = found.flow_run_id is not None and found.status is not RequestStatus.PENDING
    return _decided(found, resumed=False, note=_UNTOLD if waits else "")


def _decided(request: PromotionRequest, *, resumed: bool, note: str) -> DecidedRequest:
    return {"promotion_request": _whole(request), "resumed": resumed, "note": note}


def _status(given: str | None) -> RequestStatus | None:
    try:
        return None if given is None else RequestStatus(given.upper())
    except ValueError:
        raise InvalidInputError(f"There is no status {given!r}; it is one of {', '.join(RequestStatus)}.") from None


def _told(request: PromotionRequest) -> RequestTold:
    return {
        "request_id": request.request_id,
        "model": request.name,
        "version": request.version,
        "alias": request.alias,
        "stage": request.stage,
        "status": request.status.value,
        "status_reason": request.status_reason,
        "requester": request.requester,
        "requested_at": _when(request.requested_at),
        "expires_at": _when(request.expires_at),
        "artifact_digest": request.artifact_digest,
        "evidence_digest": request.evidence_digest,
        "policy": request.policy,
        "policy_version": request.policy_version,
        "base_version": request.base_version,
        "base_generation": request.base_generation,
        "flow_run_id": request.flow_run_id,
        "gates": [{"gate": g.gate, "passed": g.passed, "summary": g.summary} for g in request.evidence],
        "decisions": [
            {
                "actor": each.actor,
                "approve": each.approve,
                "reason": each.reason,
                "decided_at": _when(each.decided_at),
                "channel": each.channel,
            }
            for each in request.decisions
        ],
    }


def _whole(request: PromotionRequest) -> WholeRequest:
    evidence: list[GateTruth] = [
        {"gate": each.gate, "passed": each.passed, "summary": each.summary, "evidence": dict(each.evidence)}
        for each in request.evidence
    ]
    return {**_told(request), "evidence": evidence}


def _when(milliseconds: int) -> str:
    try:
        at = dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
    except (OverflowError, ValueError, OSError):  # a time that a client once gave, beyond the calendar
        return str(milliseconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _route(method: str, path: str, kind: type[Request], answer: Any, work: Callable[[Backend, Any], Any]) -> Route:
    # Deciding waits for Prefect, and a list may be long: neither holds up those who log.
    return Route((method,), (f"{PATH}{path}",), kind, answer, work, "Promotion requests", searches=True)


ROUTES: tuple[Route, ...] = (
    _route("GET", "", ListPromotionRequests, SomeRequests, list_requests),
    _route("GET", "/{request_id}", PromotionRequestId, OneRequest, get_request),
    _route("POST", "/{request_id}/approve", ApprovePromotionRequest, DecidedRequest, approve_request),
    _route("POST", "/{request_id}/reject", RejectPromotionRequest, DecidedRequest, reject_request),
)
