"""The task runs of a flow run as the steps of its run, read from Prefect's API.

They reach the API late, some of them after the flow run has ended. So they are read at the end of the run in the
background, by `prefect-ml reconcile`, and again by whoever looks at them until nothing can change.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import datetime

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import StateType, TaskRun
from prefect.client.schemas.sorting import TaskRunSort
from prefect.exceptions import PrefectException

from prefect_ml.entities import Run, Step
from prefect_ml.errors import PrefectMLError
from prefect_ml.store.contract import Store

logger = logging.getLogger(__name__)

# The most that Prefect's API gives at once.
_PAGE = 200
# Task runs that come later than so long after the end of their flow run are not waited for.
_LATE_MS = 60_000
SYNCED_TAG = "prefect_ml.steps_synced"
FLOW_RUN_TAG = "prefect_ml.flow_run_id"

_ENDED = {StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED}


def sync_steps_soon(store: Store, run_id: str) -> None:
    """Read the steps of a run in the background; what fails is read later."""
    threading.Thread(target=sync_steps_if_reached, args=(store, run_id), daemon=True).start()


def get_steps(store: Store, run_id: str) -> Sequence[Step]:
    """The steps of a run, brought up to date when Prefect's API can be reached.

    Raises:
        NotFoundError: there is no such run.
    """
    run = store.get_run(run_id)
    if FLOW_RUN_TAG in run.tags and not steps_are_final(run):
        sync_steps_if_reached(store, run_id)
    return store.get_steps(run_id)


def sync_steps(store: Store, run_id: str, client: SyncPrefectClient) -> int:
    """Bring the steps of a run up to date, and return how many there are.

    Raises:
        NotFoundError: there is no such run.
        InactiveError: it is deleted.
        prefect.exceptions.ObjectNotFound: another Prefect orchestrated it, or it was deleted there.
    """
    at = time.time_ns() // 1_000_000
    flow_run_id = uuid.UUID(run_id)
    client.read_flow_run(flow_run_id)  # who does not know it knows no task runs of it either
    found = [_step(task_run) for task_run in _task_runs(client, flow_run_id)]
    store.save_steps(run_id, found)
    if all(step.end_time is not None for step in found):
        store.log_batch(run_id, tags={SYNCED_TAG: str(at)})
    return len(found)


def steps_are_final(run: Run) -> bool:
    """Whether the steps were read when all had ended and no further one could come."""
    synced = run.tags.get(SYNCED_TAG, "")
    return run.end_time is not None and synced.isdecimal() and int(synced) > run.end_time + _LATE_MS


def sync_steps_if_reached(store: Store, run_id: str) -> None:
    """Bring the steps of a run up to date where its Prefect can be reached; never raises for that."""
    try:
        with get_client(sync_client=True) as client:
            sync_steps(store, run_id, client)
    except (PrefectMLError, PrefectException, httpx.HTTPError, RuntimeError) as error:
        logger.debug("The steps of run %s could not be read: %s", run_id, error)


def _task_runs(client: SyncPrefectClient, flow_run_id: uuid.UUID) -> list[TaskRun]:
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    found: list[TaskRun] = []
    while True:
        # The one order in which none has the place of another; what comes meanwhile shows others twice, and hides none.
        page = client.read_task_runs(flow_run_filter=mine, sort=TaskRunSort.ID_DESC, limit=_PAGE, offset=len(found))
        found += page
        if len(page) < _PAGE:
            return found


def _step(task_run: TaskRun) -> Step:
    state = task_run.state
    return Step(
        task_run.id.hex,
        task_run.name,
        task_run.task_key,
        "Unknown" if state is None else state.name or state.type.value.title(),
        _ms(task_run.start_time),
        _ms(task_run.end_time) if state is not None and state.type in _ENDED else None,
        task_run.run_count,
    )


def _ms(time_: datetime | None) -> int | None:
    return None if time_ is None else int(time_.timestamp() * 1000)
