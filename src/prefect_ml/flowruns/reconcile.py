"""Making the record true again after processes died: statuses, steps, and what lies in journals."""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from dataclasses import dataclass

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound, PrefectException

from prefect_ml.entities import Attempt, Run, RunStatus
from prefect_ml.errors import StoreUnavailableError
from prefect_ml.flowruns.states import STATUS
from prefect_ml.flowruns.steps import FLOW_RUN_TAG, get_steps, steps_are_final
from prefect_ml.flowruns.verdict import verdict
from prefect_ml.store.contract import Store
from prefect_ml.store.experiment_ids import all_experiments
from prefect_ml.tracking.reaper import end_silent
from prefect_ml.tracking.sync import sync_journals

logger = logging.getLogger(__name__)

_DAY_MS = 86_400_000
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was done.

    Attributes:
        journals: how many journals were looked at.
        records: how many records were delivered.
        ended: ids of runs whose process was found dead, and of suspended ones that will never be resumed.
        steps: how many runs had their steps read.
    """

    journals: int
    records: int
    ended: tuple[str, ...]
    steps: int


def reconcile(store: Store, timeout: float) -> Reconciled:
    """Deliver journals of this machine, end attempts without a sign of life as Prefect knows they ended, read steps.

    Idempotent; several may run at once.

    Args:
        store: what to make true.
        timeout: seconds of silence after which an attempt counts as dead.

    Raises:
        StoreUnavailableError: call again.
    """
    journals = sync_journals(store)
    ended = [attempt.run_id for attempt in end_silent(store, timeout, how=_how)]
    ended += _end_suspended(store)
    read = [run for run in _recent(store) if not steps_are_final(run)]
    for run in read:
        _make_true(store, run)
        get_steps(store, run.run_id)
    return Reconciled(
        len(journals),
        sum(report.records for report in journals),
        tuple(ended),
        len(read),
    )


def _how(attempt: Attempt) -> RunStatus:
    try:
        return verdict(attempt.run_id, attempt.attempt_id)
    except StoreUnavailableError as error:
        logger.warning("%s", error)
        return RunStatus.KILLED


def _make_true(store: Store, run: Run) -> None:
    """Have Prefect say that a run is over whose end was concluded while it could not be asked, or by who did not."""
    if run.status is RunStatus.KILLED and (attempts := store.get_attempts(run.run_id)) and attempts[-1].presumed:
        _how(attempts[-1])


def _end_suspended(store: Store) -> list[str]:
    """End suspended runs whose flow run is over: cancelled, or not resumed in time. No process learned of that."""
    waiting = _runs(store, f"attributes.status = 'SCHEDULED' and tags.`{FLOW_RUN_TAG}` LIKE '%'")
    if not waiting:
        return []
    ended: list[str] = []
    try:
        with get_client(sync_client=True) as client:
            for run in waiting:
                with contextlib.suppress(ObjectNotFound, ValueError):  # of another Prefect
                    state = client.read_flow_run(uuid.UUID(run.run_id)).state
                    if state is not None and state.is_final():
                        at = int(state.timestamp.timestamp() * 1000)
                        store.update_run(run.run_id, status=STATUS[state.type], end_time=at)
                        ended.append(run.run_id)
    except (PrefectException, httpx.HTTPError, RuntimeError) as error:
        logger.warning("Prefect cannot be asked what became of suspended runs; they are looked at later. %s", error)
    return ended


def _recent(store: Store) -> list[Run]:
    """Runs of flows that ended within a day."""
    since = time.time_ns() // 1_000_000 - _DAY_MS
    return _runs(store, f"attributes.end_time > {since} and tags.`{FLOW_RUN_TAG}` LIKE '%'")


def _runs(store: Store, filter_: str) -> list[Run]:
    experiments = all_experiments(store)
    found: list[Run] = []
    token: str | None = None
    while experiments:
        page = store.search_runs(experiments, filter_, max_results=_PAGE, page_token=token)
        found += page.items
        token = page.next_token
        if token is None:
            break
    return found
