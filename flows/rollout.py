"""Carrying out an approved promotion: canary, move and soak, and waits that are not lost with their process."""

from __future__ import annotations

import datetime as dt
import time
from uuid import uuid4

from prefect import get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.flow_runs import suspend_flow_run
from prefect.states import Scheduled

from prefect_ml.entities import GateResult, PromotionRequest, RequestStatus
from prefect_ml.errors import PromotionError, StaleRequestError
from prefect_ml.flowruns import rollout
from prefect_ml.flows import gates
from prefect_ml.flows.approval import may_suspend
from prefect_ml.registry.gates import Gate
from prefect_ml.store.contract import Store
from prefect_ml.tasks import PATIENT, move_alias

# Seconds: what a process waits itself. A longer wait gives the process up, and the run is scheduled for its end.
_SHORT = 60.0
_LONGEST_PAUSE = 1.0
_OPEN = (RequestStatus.APPROVED, RequestStatus.PROMOTED)
_WAITED_FOR = {
    "queue": "the canary of another promotion",
    "judge-canary": "the end of the canary",
    "move": "the end of the canary",
    "judge-soak": "the end of the soak",
}


def carry_out(store: Store, request: PromotionRequest) -> PromotionRequest:
    """Take all steps that a decided request needs, and return it as it is then.

    A request that does not fit any more is closed, and no error: its status and reason say why. In a run of a
    deployment, a long wait ends this process and the flow is executed again at its end.
    """
    judge = judge_of(store, request)
    while (step := rollout.next_step(store, request)).kind != "done":
        _wait_until(step)
        try:
            if step.kind == "queue":
                continue
            if step.kind == "move":
                move_alias(request.request_id, actor=rollout.mover(request), store=store)
            elif step.kind in ("judge-canary", "judge-soak"):
                rollout.take(store, request, step, judge)  # each gate is a task
            else:
                take_step(step, request, store)
        except PromotionError as error:
            request = store.get_request(request.request_id)
            if request.status in _OPEN and not isinstance(error, StaleRequestError):
                raise
            get_run_logger().warning("%s", error)
            return request
        request = store.get_request(request.request_id)
    if rollout.needs_clean_up(store, request):
        clean_up_rejected(request, store)
    return request


def judge_of(store: Store, request: PromotionRequest) -> rollout.Judge:
    """Judges gates of every kind for a request, each as a task run."""

    def judge(gate: Gate, key: str, against: int | None) -> GateResult:
        return gates.judge(
            gate, request.name, request.version, request.alias, request_key=key, against=against, store=store
        )

    return judge


@task(**PATIENT, task_run_name="{step.kind} of {request.request_id}")
def take_step(step: rollout.Step, request: PromotionRequest, store: Store) -> None:
    """One step of a rollout that judges nothing."""
    if step.why:
        get_run_logger().error("%s version %d: %s", request.name, request.version, step.why)
    rollout.take(store, request, step, _no_gates)


@task(**PATIENT, task_run_name="clean up after {request.request_id}")
def clean_up_rejected(request: PromotionRequest, store: Store) -> None:
    """Do what the policy wants of a rejected version."""
    for problem in rollout.clean_up(store, request):
        get_run_logger().warning("%s", problem)


def _no_gates(gate: Gate, key: str, against: int | None) -> GateResult:
    raise TypeError(f"A step that judges nothing asked for {gate.name!r}, under {key!r} and against {against}.")


def _wait_until(step: rollout.Step) -> None:
    """Return when a step is due; a long wait in a run of a deployment raises Prefect's Pause instead.

    The deadline is the store's, so nothing is lost with this process, and a cancellation finds a run that sleeps for a
    second at most, or one that is only scheduled.
    """
    left = (step.due - rollout.now()) / 1000
    if left <= 0:
        return
    at = dt.datetime.fromtimestamp(step.due / 1000, dt.UTC)
    get_run_logger().info("Waiting until %s for %s.", at.isoformat(timespec="seconds"), _WAITED_FOR[step.kind])
    context = FlowRunContext.get()
    if left > _SHORT and context is not None and context.flow_run is not None and may_suspend(context.flow_run):
        _come_back(context.flow_run, at, _WAITED_FOR[step.kind])
    while (left := (step.due - rollout.now()) / 1000) > 0:
        time.sleep(min(_LONGEST_PAUSE, left))


def _come_back(run: FlowRun, at: dt.datetime, what: str) -> None:
    """End this process, and have the run executed again at a time."""
    try:
        suspend_flow_run(key=f"wait-{uuid4().hex}")
    except Pause:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Scheduled(scheduled_time=at, message=f"Waits for {what}."))
        raise
