"""The rounds of one promotion: what changed meanwhile sends it back to the gates, under a key of its own.

All of it is read from the store, so that a run which was interrupted goes on where it was.
"""

from __future__ import annotations

from uuid import UUID

from prefect_ml.entities import AliasMove, PromotionRequest, RequestKind, RequestStatus
from prefect_ml.store.contract import Store
from prefect_ml.store.registry_names import person

# Something that changes faster than people decide is not worth a sixth question.
MOST = 5
_OF_ENDPOINT = "endpoint-flow-run-"


def key(flow_run_id: UUID | str, number: int) -> str:
    """The key of the request that a flow run makes in a round, the first being 1."""
    return f"flow-run-{flow_run_id}" if number == 1 else f"flow-run-{flow_run_id}-{number}"


def of_endpoint(flow_run_id: UUID | str) -> str:
    """The key of the request that a rollout at an endpoint makes: it moves the alias when the rollout is done."""
    return f"{_OF_ENDPOINT}{flow_run_id}"


def is_of_endpoint(request: PromotionRequest) -> bool:
    """Whether a rollout at an endpoint carries a request out, and nobody else."""
    return request.key.startswith(_OF_ENDPOINT)


def newest(store: Store, flow_run_id: UUID | str) -> int:
    """The last round of a flow run that asked for something; 1 when none did."""
    asked = (number for number in range(MOST, 1, -1) if store.get_request_by_key(key(flow_run_id, number)) is not None)
    return next(asked, 1)


def request_of(store: Store, flow_run_id: UUID | str) -> PromotionRequest | None:
    """The last request of a flow run."""
    found = store.get_request_by_key(key(flow_run_id, newest(store, flow_run_id)))
    return found or store.get_request_by_key(of_endpoint(flow_run_id))


def why_round(store: Store, flow_run_id: UUID | str, number: int) -> str:
    """Why there is this round, "" for the first one and where the one before left no request."""
    before = store.get_request_by_key(key(flow_run_id, number - 1)) if number > 1 else None
    return "" if before is None else why_again(store, before)


def why_again(store: Store, request: PromotionRequest) -> str:
    """Why the gates must be judged anew and people be asked again; "" when the request came to its end.

    A request that nobody decided in time is over, as is one that another request overtook.
    """
    if request.status is RequestStatus.APPROVED:
        return "the champion that the gates compared with is not the one at the time of the request"
    if request.status is RequestStatus.EXPIRED and _approved(store, request):
        return f"it was approved, and not carried out in time ({request.status_reason})"
    if request.status is RequestStatus.SUPERSEDED and _overtaking(store, request) is None:
        return request.status_reason or request.status
    return ""


def overtaken_by(store: Store, request: PromotionRequest) -> str:
    """Which other request moved the alias first, in words; "" when none did."""
    move = _overtaking(store, request) if request.status is RequestStatus.SUPERSEDED else None
    if move is None:
        return ""
    return (
        f"the request {move.request_id} moved @{move.alias} to version {move.version} first, "
        f"by {move.moved_by} (generation {move.generation})"
    )


def _approved(store: Store, request: PromotionRequest) -> bool:
    said = {person(each.actor): each.approve for each in request.decisions}
    needed = store.get_policy(request.policy, request.policy_version).approvals
    passed = all(result.passed for result in request.evidence)
    return passed and all(said.values()) and len(said) >= needed


def _overtaking(store: Store, request: PromotionRequest) -> AliasMove | None:
    """The move that made the request void, when it was another promotion's; a rollback overtakes nobody."""
    later = (m for m in store.alias_history(request.name, request.alias) if m.generation > request.base_generation)
    first = next(later, None)
    if first is None or first.request_id is None or first.request_id == request.request_id:
        return None
    return first if store.get_request(first.request_id).kind is RequestKind.PROMOTION else None
