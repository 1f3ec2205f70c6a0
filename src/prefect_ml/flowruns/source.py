"""Which code of a flow run records here: the flow's own, or one call of one task.

Prefect gives a task run a new id in each attempt of its flow run. What stays is the key under which Prefect would
cache the call's result; a call that has none is known by its task and the shapes of its arguments.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext, TaskRunContext
from prefect.transactions import get_transaction

from prefect_ml.entities import Source

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

_MOST_KNOWN = 10_000
_MOST_CHARACTERS = 1000
_MOST_ITEMS = 100
_SHORT = 16

_bodies: dict[UUID, Source] = {}
_tasks: dict[tuple[UUID, UUID, int], Source] = {}
_hex: dict[UUID, str] = {}


def source_here(run_id: str) -> Source | None:
    """The source in the run of the innermost flow run here; None for another run."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    flow_run = context.flow_run
    if _run_id(flow_run.id) != run_id:
        return None
    body = body_source(flow_run)
    task = TaskRunContext.get()
    if body is None or task is None or task.task_run.flow_run_id != flow_run.id:
        return body
    known = (flow_run.state.id if flow_run.state else flow_run.id, task.task_run.id, task.task_run.run_count)
    if (source := _tasks.get(known)) is None:
        source = _tasks[known] = _task_source(body, task)
        _bound(_tasks)
    return source


def body_source(flow_run: FlowRun) -> Source | None:
    """The source that the flow's own code is: each state Running is an attempt, known alike in every process."""
    state = flow_run.state
    if state is None or state.type is not StateType.RUNNING:
        return None
    if (source := _bodies.get(state.id)) is None:
        started = int(state.timestamp.timestamp() * 1000)
        source = _bodies[state.id] = Source(state.id.hex, max(flow_run.run_count, 1), started)
        _bound(_bodies)
    return source


def _run_id(flow_run_id: UUID) -> str:
    if (found := _hex.get(flow_run_id)) is None:
        found = _hex[flow_run_id] = flow_run_id.hex
        _bound(_hex)
    return found


def _task_source(body: Source, context: TaskRunContext) -> Source:
    task_run = context.task_run
    transaction = get_transaction()
    call = str(transaction.key) if transaction and transaction.key else _shape(context.parameters)
    short = hashlib.blake2b(call.encode(), digest_size=_SHORT // 2).hexdigest()
    return body._replace(
        scope=f"{task_run.task_key}:{short}", retry=max(task_run.run_count - 1, 0), task_run_id=task_run.id.hex
    )


def _shape(value: Any) -> str:
    """Text that is the same for the same arguments, without looking at large ones."""
    if isinstance(value, str | bytes | int | float | bool | None):
        return repr(value)[:_MOST_CHARACTERS]
    if isinstance(value, dict):
        items = list(value.items())[:_MOST_ITEMS]
        return f"{len(value)}{{{','.join(f'{key!r}:{_shape(item)}' for key, item in items)}}}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"{len(value)}[{','.join(_shape(item) for item in list(value)[:_MOST_ITEMS])}]"
    return f"{type(value).__qualname__}{getattr(value, 'shape', '')}"


def _bound(known: dict[Any, Any]) -> None:
    if len(known) > _MOST_KNOWN:
        known.clear()
