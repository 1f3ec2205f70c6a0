"""Promotions whose process died: their flow runs are executed again.

It is the same flow run, as with the button Retry of Prefect's pages: its id names its requests and what its gates
found, so it goes on where it was, each step takes place once, and its end says what became of the promotion.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from typing import Final
from uuid import NAMESPACE_OID, uuid5

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Crashed

from prefect_ml.store.contract import Store

logger = logging.getLogger(__name__)

# How often a promotion is started again by itself: one that dies each time dies of something that a person must mend.
MOST: Final = 5
# How long nothing was heard of a process that is dead; Prefect's engine gives a sign of life every three minutes.
SILENT = dt.timedelta(minutes=15)
# The same where it never gave one: it may be told not to, and a gate may take long.
SILENT_FROM_THE_START = dt.timedelta(hours=2)
# What died longer ago is no news.
_LATEST = dt.timedelta(days=7)
_HEARTBEAT = "prefect.flow-run.heartbeat"
_WHY = "Its process died; it goes on where it was."
_PAGE = 200


def restart_dead(store: Store, client: SyncPrefectClient, flows: tuple[str, ...]) -> Iterator[str]:
    """Have dead flow runs executed again, and yield their ids.

    Dead is one that Prefect calls Crashed, and one that it believes to be at work but of which nothing was heard for
    long. Left alone are those that no deployment executes, those that died several times, those after which somebody
    asked for the same anew, and rollouts that had not begun before somebody else changed their endpoint.

    Args:
        store: where the requests are.
        client: of Prefect's API.
        flows: the names of the flows that wait for decisions.
    """
    for run in _dead(client, flows):
        if run.deployment_id is None or run.parent_task_run_id is not None or not _is_wanted(store, run):
            continue
        again = sum(state.message == _WHY for state in client.read_flow_run_states(run.id))
        if again >= MOST:
            logger.warning(
                "The flow run %s (%s) died %d times, and is not started again by itself; see why, and press Retry.",
                run.id, run.name, again + 1,
            )  # fmt: skip
        elif _started(client, run):
            yield str(run.id)


def _dead(client: SyncPrefectClient, flows: tuple[str, ...]) -> Iterator[FlowRun]:
    since = dt.datetime.now(dt.UTC) - _LATEST
    lately = FlowRunFilterEndTime.model_validate({"after_": since})
    yield from _pages(client, flows, FlowRunFilter(state=_in_state(StateType.CRASHED), end_time=lately))
    for run in _pages(client, flows, FlowRunFilter(state=_in_state(StateType.RUNNING, StateType.PENDING))):
        if run.state is not None and run.state.timestamp > since and _is_silent(client, run, run.state):
            yield run


def _pages(client: SyncPrefectClient, flows: tuple[str, ...], wanted: FlowRunFilter) -> Iterator[FlowRun]:
    of_promotions = FlowFilter(name=FlowFilterName(any_=list(flows)))
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(flow_filter=of_promotions, flow_run_filter=wanted, limit=_PAGE, offset=len(found))
        found += page
        if len(page) < _PAGE:
            break
    yield from found


def _in_state(*types: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))


def _is_silent(client: SyncPrefectClient, run: FlowRun, state: State) -> bool:
    """Whether a run that Prefect believes to be at work gave no sign of life for long."""
    now = dt.datetime.now(dt.UTC)
    if now - state.timestamp <= SILENT:
        return False
    if state.type is StateType.PENDING:  # a worker took it, and its process never began
        return True
    heard = _heard(client, run, state.timestamp)
    return now - (heard or state.timestamp) > (SILENT if heard else SILENT_FROM_THE_START)


def _heard(client: SyncPrefectClient, run: FlowRun, since: dt.datetime) -> dt.datetime | None:
    """When a run gave its last sign of life."""
    beats = EventFilter(
        event=EventNameFilter(name=[_HEARTBEAT]),
        occurred=EventOccurredFilter.model_validate({"since": since}),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
    )
    return max((event.occurred for event in client.read_events(beats, limit=1).events), default=None)


def _is_wanted(store: Store, run: FlowRun) -> bool:
    """Whether nobody asked for the same after a run died."""
    died = 0 if run.state is None else run.state.timestamp.timestamp() * 1000
    if isinstance(endpoint := run.parameters.get("endpoint"), str):
        return not _is_overtaken(store, run, endpoint, died)
    name, alias = run.parameters.get("name"), run.parameters.get("alias", "champion")
    asked = store.list_requests(name=name, max_results=_PAGE) if isinstance(name, str) else ()
    return not any(
        other.alias == alias
        and other.version == run.parameters.get("version", other.version)
        and other.requested_at > died
        and other.flow_run_id != str(run.id)
        for other in asked
    )


def _is_overtaken(store: Store, run: FlowRun, endpoint: str, died: float) -> bool:
    """Whether somebody changed an endpoint after a rollout died that had not changed it yet.

    It would begin on what they put there. One that had begun finds by itself that it was overtaken, and says so.
    """
    if store.list_endpoint_revisions(endpoint, rollout=f"flow-run-{run.id}", max_results=1):
        return False
    newest = store.list_endpoint_revisions(endpoint, max_results=1)
    return bool(newest) and newest[0].changed_at > died


def _started(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Schedule a dead run anew, unless somebody else did it meanwhile."""
    try:
        seen = client.read_flow_run(run.id)
    except ObjectNotFound:
        return False
    if run.state is None or seen.state is None or seen.state.id != run.state.id:
        return False
    if not seen.state.is_crashed():
        client.set_flow_run_state(run.id, Crashed(message="The process that executed this flow run died."), force=True)
    again: State[object] = AwaitingRetry(message=_WHY)
    # Two that found it dead by the same state schedule it once: Prefect refuses a second transition of the same id.
    again.state_details.transition_id = uuid5(NAMESPACE_OID, f"restart-{run.state.id}")
    return client.set_flow_run_state(run.id, again).status is SetStateStatus.ACCEPT
