"""The flow run here, as the audit log keeps it."""

from __future__ import annotations

from collections.abc import Mapping

from prefect.context import FlowRunContext, TaskRunContext


def flow_run_here() -> Mapping[str, object]:
    """The channel "flow" and Prefect's id of the flow run that this code, or its task, runs in; nothing outside."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if flow is not None and flow.flow_run is not None:
        return {"channel": "flow", "flow_run": str(flow.flow_run.id)}
    if task is not None and task.task_run.flow_run_id is not None:
        return {"channel": "flow", "flow_run": str(task.task_run.flow_run_id)}
    return {}
