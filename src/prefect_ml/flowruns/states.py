"""How a flow run ends is how its run ends, told by hooks in whatever process learns of it.

FAILED: the code raised, or could not be called. KILLED: it was stopped from outside: cancelled, interrupted,
killed, lost. SCHEDULED: it is suspended, or waits to be executed again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled

from prefect_ml.entities import RunStatus
from prefect_ml.flowruns.harmless import harmless
from prefect_ml.flowruns.options import Options, is_recorded, options_of
from prefect_ml.flowruns.start import record_start
from prefect_ml.flowruns.steps import sync_steps_soon
from prefect_ml.flowruns.summary import finish_summary
from prefect_ml.settings import Settings
from prefect_ml.tracking.run import ActiveRun

STATUS = {
    StateType.COMPLETED: RunStatus.FINISHED,
    StateType.FAILED: RunStatus.FAILED,
    StateType.CRASHED: RunStatus.KILLED,
    StateType.CANCELLING: RunStatus.KILLED,
    StateType.CANCELLED: RunStatus.KILLED,
    StateType.PAUSED: RunStatus.SCHEDULED,
    StateType.SCHEDULED: RunStatus.SCHEDULED,
    StateType.PENDING: RunStatus.SCHEDULED,
}


_TOLD = ("completion", "failure", "crashed", "cancellation")


def install_hooks(flow: Flow[..., Any]) -> None:
    """Have a flow's states tell how its runs end; idempotent."""
    for state in _TOLD:
        name = f"on_{state}_hooks"
        hooks = getattr(flow, name) or []
        if end_run not in hooks:  # with_options() shares the list with the original, so a new one is set
            setattr(flow, name, [*hooks, end_run])


def remove_hooks(flow: Flow[..., Any]) -> None:
    """Undo `install_hooks`."""
    for state in _TOLD:
        name = f"on_{state}_hooks"
        setattr(flow, name, [hook for hook in getattr(flow, name) or [] if hook is not end_run])


def end_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> Any:
    """State hook: end the run as the flow run ended; runs in whatever process learns of it."""
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        return asyncio.to_thread(_end, flow, flow_run, state)
    _end(flow, flow_run, state)
    return None


def _end(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    run = ActiveRun(flow_run.id.hex)
    if run.outlet.attempt is None and not is_recorded(flow, flow_run):
        return
    with harmless("The end of this run cannot be recorded"):
        if run.outlet.attempt is None:
            record_start(flow, flow_run, options_of(flow.fn) or Options())
        mine = run.outlet.attempt is not None
        # Another process may learn of it seconds later.
        ended = None if mine else int(state.timestamp.timestamp() * 1000)
        run.end(STATUS[state.type], end_time=ended, number=max(flow_run.run_count, 1))
        if mine and state.type is StateType.CANCELLING:
            _make_cancelled(flow_run)
    finish_summary(run)
    if not Settings().offline:
        with harmless("The steps of this run are not known yet"):
            sync_steps_soon(run.outlet.store, run.run_id)


def _make_cancelled(flow_run: FlowRun) -> None:
    """Tell Prefect that a run that was to be cancelled has come to its end; in a bare script nobody else does."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run.id, Cancelled(message="The flow run was cancelled and is over."), force=True)
