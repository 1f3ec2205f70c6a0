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
    stands = state.id.hex == attempt_id
    needy = _needs_its_process(flow_run, state)
    if needy and process_lives and not stands:
        return code
    if state.type is StateType.CANCELLING:
        client.set_flow_run_state(flow_run.id, Cancelled(message=_MESSAGE), force=True)
    elif needy and not _taken_over(client, flow_run, attempt_id):
        client.set_flow_run_state(flow_run.id, Crashed(message=_MESSAGE), force=True)
        # In any other state than its own Running, it went on after its code ended.
        return code if stands else RunStatus.KILLED
    return STATUS.get(state.type, code)


def _needs_its_process(flow_run: FlowRun, state: State) -> bool:
    """Whether nobody will execute it any more when the process that did so is dead."""
    if state.type is StateType.PAUSED:
        return not state.state_details.pause_reschedule  # it waits in its process; a suspended one does not
    waits = state.type in {StateType.SCHEDULED, StateType.PENDING}
    return state.type is StateType.RUNNING or (waits and flow_run.deployment_id is None)


def _taken_over(client: SyncPrefectClient, flow_run: FlowRun, attempt_id: str) -> bool:
    """Whether another process has begun with it since, which it does by way of the state Pending."""
    if flow_run.state is not None and flow_run.state.id.hex == attempt_id:
        return False
    states = sorted(client.read_flow_run_states(flow_run.id), key=lambda state: state.timestamp)
    since = list(itertools.dropwhile(lambda state: state.id.hex != attempt_id, states))
    return not since or any(state.type is StateType.PENDING for state in since)
