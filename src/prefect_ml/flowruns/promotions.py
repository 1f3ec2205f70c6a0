"""Promotions whose flow run cannot carry them on: woken where it sleeps, carried out or begun again where it is dead.

Each step is recorded in the store before anything follows from it, and the store takes it once. So nothing is lost when
this runs beside the flow run itself, or twice at a time.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import PrefectException

from prefect_ml.entities import Policy, PromotionRequest, RequestStatus
from prefect_ml.errors import PrefectMLError, PromotionError, StoreUnavailableError
from prefect_ml.flowruns import rollout, rounds, waiting
from prefect_ml.flowruns.restart import restart_dead
from prefect_ml.store.contract import Store

logger = logging.getLogger(__name__)

JudgeOf = Callable[[Store, PromotionRequest], rollout.Judge]

# The flows that wait for the decision on a request; the last two roll out at an endpoint, and go on in no other way.
WAITING_FLOWS = ("promote-model", "rollback-model", "deploy-model", "canary")
# The most that Prefect's API gives at once.
_PAGE = 200
# Requests that are looked at: what is older than the last so many of a status was looked at before.
_LATEST = 1000
# Milliseconds after which what is still to be done for a decided request is no longer looked for.
_WEEK = 7 * 24 * 3_600_000
# Milliseconds that a flow run which seems to live may let a due step lie; its process may be dead without Prefect's
# knowing, or no worker may be there to execute it.
_PATIENCE = 15 * 60_000
_DEAD = {StateType.FAILED, StateType.CRASHED}
_ENDED = {StateType.CANCELLED, StateType.CANCELLING, StateType.COMPLETED}


@dataclass(frozen=True, slots=True)
class CarriedOn:
    """What was done, as ids of requests.

    Attributes:
        expired: closed, since their time was over.
        resumed: whose suspended flow run goes on.
        carried_out: of which at least one step was taken here.
        cleaned: whose rejected version was cleaned up after.
        restarted: flow runs, by id, that died and are executed again.
    """

    expired: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()
    carried_out: tuple[str, ...] = ()
    cleaned: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()


def carry_promotions_on(store: Store, judge_of: JudgeOf = rollout.judge_here) -> CarriedOn:
    """Close overdue requests, wake the suspended flow runs of decided ones, and go on with those of dead flow runs.

    A dead flow run of a deployment is executed again (`flowruns.restart`). What nobody will execute, and nobody did in
    time, is carried out here.

    A request whose flow run was cancelled is left alone, as is one without a flow run. Idempotent; several may run at
    once.

    Args:
        store: where the requests are.
        judge_of: gives what judges the gates of a request at the end of its canary or soak; the default judges those
            that need no flow.

    Raises:
        StoreUnavailableError: call again.
    """
    expired = tuple(request.request_id for request in _expired(store))
    resumed: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    try:
        with waiting.prefect_client("Promotions that wait for their flow runs were left alone") as client:
            resumed = tuple(_woken(store, client))
            restarted = tuple(restart_dead(store, client, WAITING_FLOWS))
            carried = tuple(_carried_out(store, client, judge_of))
    except (PromotionError, PrefectException, httpx.HTTPError, RuntimeError) as error:
        logger.warning("%s", error)
    return CarriedOn(expired, resumed, carried, tuple(_cleaned(store)), restarted)


def _expired(store: Store) -> Iterator[PromotionRequest]:
    while found := store.expire_requests():
        yield from found


def _woken(store: Store, client: SyncPrefectClient) -> Iterator[str]:
    suspended = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    of_promotions = FlowFilter(name=FlowFilterName(any_=list(WAITING_FLOWS)))
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(
            flow_filter=of_promotions, flow_run_filter=suspended, limit=_PAGE, offset=len(found)
        )
        found += page
        if len(page) < _PAGE:
            break
    for run in found:
        request = rounds.request_of(store, run.id)
        if request is None or request.status is RequestStatus.PENDING:
            continue
        told = waiting.tell_waiting(request)
        if told.problem:
            logger.warning("%s", told.problem)
        if told.resumed:
            yield request.request_id


def _carried_out(store: Store, client: SyncPrefectClient, judge_of: JudgeOf) -> Iterator[str]:
    policy_of = _policies(store)
    approved = store.list_requests(status=RequestStatus.APPROVED, max_results=_LATEST)
    promoted = store.list_requests(status=RequestStatus.PROMOTED, max_results=_LATEST)
    moved = (request for request in promoted if _may_soak(request, policy_of(request)))
    mine = (request for request in (*approved, *moved) if not rounds.is_of_endpoint(request))
    waited_for = [request for request in mine if request.flow_run_id is not None]
    due = [(request, step) for request in waited_for if (step := rollout.next_step(store, request)).kind != "done"]
    states = _states(client, [request.flow_run_id for request, _ in due if request.flow_run_id])
    for request, step in due:
        if _is_left(request, step, states) and _advanced(store, request, judge_of):
            yield request.request_id


def _is_left(request: PromotionRequest, step: rollout.Step, states: Mapping[str, State | None]) -> bool:
    """Whether nobody else will take a step that is due."""
    late = rollout.now() - max(step.due, rollout.decided_at(request))
    if late < 0:
        return False
    state = states.get(str(request.flow_run_id))
    if state is None:
        return str(request.flow_run_id) not in states or late > _PATIENCE
    if state.type in _DEAD:
        return True
    return state.type not in _ENDED and late > _PATIENCE


def _states(client: SyncPrefectClient, flow_run_ids: Iterable[str]) -> dict[str, State | None]:
    """The states of flow runs by id; those that are gone are missing."""
    found: dict[str, State | None] = {}
    ids = iter(dict.fromkeys(each for each in flow_run_ids if _is_id(each)))
    while page := list(itertools.islice(ids, _PAGE)):
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(each) for each in page]))
        found |= {str(run.id): run.state for run in client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE)}
    return found


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _advanced(store: Store, request: PromotionRequest, judge_of: JudgeOf) -> bool:
    try:
        rollout.advance(store, request, judge_of(store, request))
    except StoreUnavailableError:
        raise
    except PrefectMLError as error:
        logger.warning("The promotion request %s was not carried out: %s", request.request_id, error)
        return False
    return True


def _cleaned(store: Store) -> Iterator[str]:
    """Of each version the last rejection: an earlier one was cleaned up after, or is void."""
    policy_of, seen = _policies(store), set[tuple[str, int]]()
    promoted = store.list_requests(status=RequestStatus.PROMOTED, max_results=_LATEST)
    found = [request for request in promoted if policy_of(request).soak is not None]
    found += store.list_requests(status=RequestStatus.REJECTED, max_results=_LATEST)
    for request in sorted(found, key=lambda request: request.requested_at, reverse=True):
        if (about := (request.name, request.version)) in seen:
            continue
        seen.add(about)
        if policy_of(request).on_rejection is None or rollout.now() - rollout.decided_at(request) > _WEEK:
            continue
        if rollout.needs_clean_up(store, request):
            for problem in rollout.clean_up(store, request):
                logger.warning("%s", problem)
            yield request.request_id


def _may_soak(request: PromotionRequest, policy: Policy) -> bool:
    """Whether the soak of a request that was carried out may not be over yet."""
    if policy.soak is None:
        return False
    trials = [float(clause["seconds"]) for clause in (policy.canary, policy.soak) if clause is not None]
    return rollout.now() - rollout.decided_at(request) < _WEEK + 1000 * sum(trials)


def _policies(store: Store) -> Callable[[PromotionRequest], Policy]:
    """Looks up the policy of a request, each version of one once."""
    found: dict[tuple[str, int], Policy] = {}

    def policy_of(request: PromotionRequest) -> Policy:
        named = request.policy, request.policy_version
        if named not in found:
            found[named] = store.get_policy(*named)
        return found[named]

    return policy_of
