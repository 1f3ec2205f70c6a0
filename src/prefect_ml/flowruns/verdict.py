"""How a flow run whose process is dead has ended, and making Prefect say so as well."""

from __future__ import annotations

import logging
import uuid

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Cancelled, Crashed

from prefect_ml.entities import RunStatus
from prefect_ml.flowruns.states import STATUS

logger = logging.getLogger(__name__)

_MESSAGE = "The process that executed this flow run died."


def verdict(run_id: str, attempt_id: str) -> RunStatus:
    """How an attempt ended whose process is dead: as Prefect says, KILLED when it knows nothing of it.

    A flow run that Prefect takes for running in this attempt becomes Crashed there, one that was being cancelled
    becomes Cancelled: without a process that would happen never.
    """
    try:
        with get_client(sync_client=True) as client:
            return _verdict(client, client.read_flow_run(uuid.UUID(run_id)), attempt_id)
    except (ObjectNotFound, ValueError):
        return RunStatus.KILLED  # a run outside of Prefect
    except (PrefectException, httpx.HTTPError, RuntimeError) as error:
        logger.debug("Prefect cannot be asked about run %s: %s", run_id, error)
        return RunStatus.KILLED


def _verdict(client: SyncPrefectClient, flow_run: FlowRun, attempt_id: str) -> RunStatus:
    state = flow_run.state
    if state is None:
        return RunStatus.KILLED
    if state.type is StateType.RUNNING:
        # The id of the state is the attempt's: another one means that another process executes it now.
        if state.id.hex == attempt_id:
            client.set_flow_run_state(flow_run.id, Crashed(message=_MESSAGE), force=True)
        return RunStatus.KILLED
    if state.type is StateType.CANCELLING:
        client.set_flow_run_state(flow_run.id, Cancelled(message=_MESSAGE), force=True)
    return STATUS[state.type]
