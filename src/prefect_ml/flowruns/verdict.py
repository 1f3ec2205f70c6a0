"""How a flow run whose process is dead has ended, and making Prefect say so as well."""

from __future__ import annotations

import itertools
import uuid

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Cancelled, Crashed

from prefect_ml.entities import RunStatus
from prefect_ml.errors import StoreUnavailableError
from prefect_ml.flowruns.states import STATUS

_MESSAGE = "The process that executed this flow run died."


def verdict(
    run_id: str, attempt_id: str, code: RunStatus = RunStatus.KILLED, *, process_lives: bool = False
) -> RunStatus:
    """How an attempt ended that no process executes any more: as Prefect says, or as its code did.

    A flow run that only its process could have gone on with becomes Crashed in Prefect, one that was being
    cancelled becomes Cancelled: without a process that would happen never.

    Args:
        run_id: the run.
        attempt_id: the attempt.
        code: how its code ended, KILLED when it did not.
        process_lives: whether its process may execute another attempt.

    Raises:
        StoreUnavailableError: Prefect cannot be asked now.
    """
    try:
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(uuid.UUID(run_id))
            return _verdict(client, flow_run, attempt_id, code, process_lives=process_lives)
    except (ObjectNotFound, ValueError):
        return code  # a run outside of Prefect
    except (PrefectException, httpx.HTTPError, RuntimeError) as error:
        raise StoreUnavailableError(f"Prefect cannot be asked how run {run_id} ended; ask again. {error}") from error


def _verdict(
    client: SyncPrefectClient, flow_run: FlowRun, attempt_id: str, code: RunStatus, *, process_lives: bool
) -> RunStatus:
    state = flow_run.state
    if state is None:
        return code
    since = _since(client, flow_run.id, state, attempt_id)
    if state.type is StateType.CANCELLING:
        client.set_flow_run_state(flow_run.id, Cancelled(message=_MESSAGE), force=True)
    elif _needs_its_process(flow_run, state) and not _gone_on(since, process_lives=process_lives):
        client.set_flow_run_state(flow_run.id, Crashed(message=_MESSAGE), force=True)
        return code if state.type is StateType.RUNNING else RunStatus.KILLED
    # What came after the attempt's end says how a later one is.
    told = next((each for each in since or [] if _tells(each)), state)
    return STATUS.get(told.type, code)


def _since(client: SyncPrefectClient, flow_run_id: uuid.UUID, state: State, attempt_id: str) -> list[State] | None:
    """The states that came after the one with which an attempt began; None when that is not among them."""
    if state.id.hex == attempt_id:
        return []
    states = sorted(client.read_flow_run_states(flow_run_id), key=lambda state: state.timestamp)
    found = list(itertools.dropwhile(lambda state: state.id.hex != attempt_id, states))
    return found[1:] if found else None


def _needs_its_process(flow_run: FlowRun, state: State) -> bool:
    """Whether nobody will execute it any more when the process that did so is dead."""
    if state.type is StateType.PAUSED:
        return not state.state_details.pause_reschedule  # it waits in its process; a suspended one does not
    if state.type in {StateType.SCHEDULED, StateType.PENDING}:
        # No worker takes a retry that waits in the process of the attempt before.
        return flow_run.deployment_id is None or flow_run.empirical_policy.retry_type == "in_process"
    return state.type is StateType.RUNNING


def _gone_on(since: list[State] | None, *, process_lives: bool) -> bool:
    """Whether a later attempt has begun: by way of Pending in another process, of AwaitingRetry in the same one."""
    further = {StateType.PENDING, StateType.SCHEDULED} if process_lives else {StateType.PENDING}
    return since is None or any(state.type in further for state in since)


def _tells(state: State) -> bool:
    """Whether a state says how the attempt before it ended."""
    return state.is_final() or state.type is StateType.CANCELLING or bool(state.state_details.pause_reschedule)
