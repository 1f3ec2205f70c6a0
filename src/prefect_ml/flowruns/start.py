"""What starts the run of a flow run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.utilities.callables import get_parameter_defaults

from prefect_ml.entities import Attempt, RunStart
from prefect_ml.flowruns.options import Options, is_recorded
from prefect_ml.flowruns.source import body_source
from prefect_ml.tracking import capture, records, values
from prefect_ml.tracking.current import entered
from prefect_ml.tracking.inherited import inherited
from prefect_ml.tracking.run import ActiveRun
from prefect_ml.tracking.start import begin


def begin_run(flow: Flow[..., Any], flow_run: FlowRun, options: Options, function: Callable[..., Any]) -> ActiveRun:
    """Begin the run of a flow run in the process that executes it, or go on with it."""
    run_id = flow_run.id.hex
    source = body_source(flow_run)
    return begin(
        run_id,
        _experiment(flow, flow_run, options),
        options.name or flow_run.name,
        parent=_parent(run_id),
        tags=_tags(flow, flow_run) | dict(options.tags),
        source_file=_file(flow, function),
        own_code=not options.wrapper,
        attempt=None if source is None else Attempt(run_id, source.attempt_id, source.number, source.started),
    )


def _file(flow: Flow[..., Any], function: Callable[..., Any]) -> str | None:
    """The file of a flow's code; code that was sent to this process by value names none, but its flow may."""
    entrypoint = flow._entrypoint or ""  # noqa: SLF001 - nothing public says it of a flow that was sent
    candidates = (inspect.unwrap(function).__code__.co_filename, entrypoint.rpartition(":")[0])
    return next((name for name in candidates if Path(name).is_file()), None)


def _parent(run_id: str) -> ActiveRun | None:
    """The run around that of the flow run here: of the nearest flow run that is recorded, or one entered within."""
    around = entered()
    outer = outer_context(FlowRunContext.get())
    while outer is not None and outer.flow_run is not None:
        flow_run_id = outer.flow_run.id.hex
        if around is not None and around.flow_run_id == flow_run_id:
            return around.run
        if is_recorded(outer.flow, outer.flow_run):
            return ActiveRun(flow_run_id)
        outer = outer_context(outer)
    if around is None:
        return inherited()
    return None if around.run.run_id == run_id else around.run


def outer_context(context: FlowRunContext | None) -> FlowRunContext | None:
    """The context in which a context was entered: of the flow run that called it, in a task's process as well."""
    token = None if context is None else context._token  # noqa: SLF001 - the API learns of a task run too late
    found = None if token is None else token.old_value
    return found if isinstance(found, FlowRunContext) else None


def record_start(flow: Flow[..., Any], flow_run: FlowRun, options: Options) -> ActiveRun:
    """Record that there is a run, in a process that does not execute it: its code may never have been called."""
    run = ActiveRun(flow_run.id.hex)
    began = flow_run.start_time
    start = RunStart(
        _experiment(flow, flow_run, options),
        options.name or flow_run.name,
        capture.user(),
        values.now_ms() if began is None else int(began.timestamp() * 1000),
        _tags(flow, flow_run) | dict(options.tags),
    )
    run.outlet.record(records.start_record(start))
    return run


def _experiment(flow: Flow[..., Any], flow_run: FlowRun, options: Options) -> str:
    """The experiment's name, with parameters of the flow run filled in as Prefect does in `flow_run_name`."""
    name = options.experiment or flow.name
    try:
        return name.format(**{**get_parameter_defaults(flow.fn), **flow_run.parameters})
    except (LookupError, ValueError, AttributeError):
        return name


def _tags(flow: Flow[..., Any], flow_run: FlowRun) -> dict[str, str]:
    tags = {
        "prefect_ml.flow_name": flow.name,
        "prefect_ml.flow_run_id": str(flow_run.id),
        "prefect_ml.attempt": str(max(flow_run.run_count, 1)),
        capture.ENTRY_POINT: capture.entry_point(inspect.unwrap(flow.fn), _file(flow, flow.fn)),
    }
    if flow_run.deployment_id is not None:
        tags["prefect_ml.deployment_id"] = str(flow_run.deployment_id)
    return tags
