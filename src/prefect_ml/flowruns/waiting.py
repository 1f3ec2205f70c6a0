"""Letting the flow run that waits for a decision go on; the decision itself is the store's record."""

from __future__ import annotations

import logging
import time
from typing import NamedTuple
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus
from prefect.exceptions import ObjectNotFound, PrefectException

from prefect_ml.entities import PromotionRequest, RequestStatus
from prefect_ml.errors import PromotionError
from prefect_ml.flowruns import announced
from prefect_ml.flowruns.background import api_url, client_of
from prefect_ml.store.contract import Store
from prefect_ml.store.rows import now

logger = logging.getLogger(__name__)

# Prefect says that a run is suspended a moment before it can check the answer to its form.
_FORM_SECONDS = 10.0
_ASKING = "promotion-"
# Requests of a model that a move may have closed are among its last so many.
_LATEST = 20
_LONGEST_NAME = 200
_LONGEST_REASON = 2000
_APPROVED = (RequestStatus.APPROVED, RequestStatus.PROMOTED)


class Decided(NamedTuple):
    """What a decision came to.

    Attributes:
        request: as it is recorded now.
        resumed: whether a suspended flow run goes on because of it.
        problem: why the flow run could not be told, as a sentence; "" when nothing is wrong. The decision stays.
    """

    request: PromotionRequest
    resumed: bool
    problem: str


def decide(store: Store, request_id: str, *, approve: bool, actor: str, reason: str = "", channel: str = "") -> Decided:
    """Record a decision, and let the flow run that waits for it go on; made again, it wakes the run again.

    Raises:
        InvalidInputError: no actor, or a rejection without a reason.
        NotAllowedError: the actor is no approver, or asked for the promotion under four eyes.
        PromotionError: the request is no longer pending.
    """
    request = announced.decide(store, request_id, approve=approve, actor=actor, reason=reason, channel=channel)
    return tell_waiting(request)


def tell_waiting(request: PromotionRequest) -> Decided:
    """`resume_waiting`, with what went wrong as a sentence."""
    try:
        return Decided(request, resume_waiting(request), "")
    except PromotionError as error:
        return Decided(request, resumed=False, problem=str(error))


def resume_waiting(request: PromotionRequest) -> bool:
    """Let the suspended flow run of a decided request go on.

    Returns:
        Whether a run was resumed; a request that is still pending, or has no suspended run, needs nothing.

    Raises:
        PromotionError: Prefect cannot be reached, or refuses; the decision is recorded all the same.
    """
    if request.flow_run_id is None or request.status is RequestStatus.PENDING:
        return False
    try:
        with prefect_client(f"The flow run {request.flow_run_id} was not told of the decision, which is recorded") as c:
            return _resumed(c, UUID(request.flow_run_id), request)
    except (ObjectNotFound, ValueError):
        return False
    except (PrefectException, httpx.HTTPError, RuntimeError) as error:
        raise PromotionError(
            f"The decision is recorded, but Prefect did not take the resume of its flow run {request.flow_run_id} "
            f"({error}); press Resume on the run's page, or wait for the next `prefect-ml reconcile`."
        ) from error


def wake_overtaken(store: Store, name: str, alias: str) -> None:
    """Let the suspended flow runs of requests that a move of the alias closed go on, so that they say which one won.

    What cannot be told is a warning: the next reconciliation does it.
    """
    for request in store.list_requests(name=name, status=RequestStatus.SUPERSEDED, max_results=_LATEST):
        if request.alias == alias and request.expires_at > now():
            told = tell_waiting(request)
            if told.problem:
                logger.warning("%s", told.problem)
                return


def answer_of(request: PromotionRequest) -> dict[str, str]:
    """How a request was decided, as an answer that the form of its suspended run takes."""
    last = request.decisions[-1] if request.decisions else None
    return {
        "decision": "approve" if request.status in _APPROVED else "reject",
        "approver": (last.actor if last else request.requester)[:_LONGEST_NAME],
        "reason": (last.reason if last else request.status_reason)[:_LONGEST_REASON],
    }


def prefect_client(what: str) -> SyncPrefectClient:
    """A client of the Prefect API that is in use here.

    Args:
        what: what does not take place without it, as the beginning of a sentence.

    Raises:
        PromotionError: none is configured; a server that would be started for this process knows no runs of others.
    """
    url = api_url()
    if url is None:
        raise PromotionError(
            f"{what}: PREFECT_API_URL is not set here. A run that watches the record goes on by itself, a suspended "
            "one with the next `prefect-ml reconcile` where it is set."
        )
    return client_of(url)


def pause_key(request: PromotionRequest, asked: str) -> str:
    """The key under which a flow run is suspended for a request."""
    return f"{_ASKING}{request.request_id}-{asked}"


def _resumed(client: SyncPrefectClient, flow_run_id: UUID, request: PromotionRequest) -> bool:
    deadline = time.monotonic() + _FORM_SECONDS
    while True:
        run = client.read_flow_run(flow_run_id)
        if run.state is None or not run.state.is_paused() or _asks_for_another(run.state, request):
            return False
        answer: OrchestrationResult[None] = client.resume_flow_run(flow_run_id, run_input=answer_of(request))
        if answer.status is not SetStateStatus.REJECT:
            return answer.status is SetStateStatus.ACCEPT
        if time.monotonic() > deadline:
            raise PromotionError(
                f"The decision is recorded, but Prefect refused to resume its flow run {flow_run_id}: "
                f"{getattr(answer.details, 'reason', None) or 'it gave no reason'}"
            )
        time.sleep(0.2)


def _asks_for_another(state: State, request: PromotionRequest) -> bool:
    """Whether a run is suspended for a later request of its own, which this one's end does not answer."""
    key = state.state_details.pause_key or ""
    return key.startswith(_ASKING) and not key.startswith(pause_key(request, ""))
