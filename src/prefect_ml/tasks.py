"""Prefect tasks over the domain: each is one call of it, seen in Prefect's UI as one task run.

Every task takes `store`; without one, the store of this process's settings is opened. Nothing is cached: a record
in the store, not Prefect's result cache, decides whether a step was taken already. A store that cannot be reached is
tried again, and what an attempt did whose answer was lost is not done twice: its record bears the id of the task run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext

import prefect_ml as ml
from prefect_ml.entities import Alias, GateResult, ModelVersion, PromotionRequest
from prefect_ml.errors import StoreUnavailableError
from prefect_ml.flowruns import announced, waiting
from prefect_ml.flowruns.rollout import candidate_of
from prefect_ml.registry import gates
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store


def _store_was_away(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001 - Prefect's shape
    """Whether a task failed only because the store could not be reached."""
    return isinstance(state.result(raise_on_failure=False), StoreUnavailableError)


PATIENT: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": 3,
    "retry_delay_seconds": [1, 5, 15],
    "retry_condition_fn": _store_was_away,
}


# The tag of a version that names the task run that registered it.
TASK_RUN_TAG = "prefect_ml.task_run_id"


@task(cache_policy=NO_CACHE)
def log_params(params: Mapping[str, Any]) -> None:
    """Record params on the current run.

    Example:
        ```python
        from prefect import flow
        import prefect_ml as ml
        from prefect_ml.tasks import log_params

        @ml.track(experiment="docs")
        @flow
        def train():
            log_params({"depth": 3})

        train()
        ```
    """
    ml.log_params(params)


@task(cache_policy=NO_CACHE)
def log_metrics(metrics: Mapping[str, float], step: int = 0) -> None:
    """Record metrics on the current run, all at one step.

    Example:
        ```python
        from prefect import flow
        import prefect_ml as ml
        from prefect_ml.tasks import log_metrics

        @ml.track(experiment="docs")
        @flow
        def train():
            log_metrics({"auc": 0.97}, step=1)

        train()
        ```
    """
    ml.log_metrics(metrics, step=step)


@task(**PATIENT, task_run_name="register {name}")
def register_model(
    source: str,
    name: str,
    *,
    run_id: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    store: Store | None = None,
) -> ModelVersion:
    """Add the model at a URI or folder as the next version of a registered model.

    Example:
        ```python
        from prefect import flow
        from prefect_ml.tasks import register_model

        @flow
        def keep(source: str):
            return register_model(source, "churn", description="more data")

        keep("models:/churn/1")
        ```
    """
    found, task_run_id = store or open_store(), _task_run_id()
    if (known := _registered_by(found, name, task_run_id)) is not None:
        return known
    marked = {**(tags or {}), **({TASK_RUN_TAG: task_run_id} if task_run_id else {})}
    return announced.register_model(found, source, name, run_id=run_id, description=description, tags=marked)


@task(**PATIENT, task_run_name="gate {gate.name}")
def evaluate_gate(
    gate: gates.Gate,
    name: str,
    version: int,
    alias: str,
    *,
    against: int | None = None,
    store: Store | None = None,
) -> GateResult:
    """Judge a version by one gate; a gate that raises has failed.

    Args:
        gate: the gate.
        name: the registered model.
        version: the version.
        alias: the alias that it asks for.
        against: the version that it is compared with, 0 for none; the one that holds the alias by default.
        store: that of this process's settings by default.

    Example:
        ```python
        from prefect import flow
        from prefect_ml.registry.model_gates import Loads
        from prefect_ml.tasks import evaluate_gate

        @flow
        def check():
            return evaluate_gate(Loads(), "churn", 1, "champion")

        assert check().passed
        ```
    """
    return gates.evaluate_gate(gate, candidate_of(store or open_store(), name, version, alias, against))


@task(**PATIENT, task_run_name="request {name} {version} to {alias}")
def request_promotion(
    name: str,
    version: int,
    alias: str,
    *,
    requester: str,
    key: str | None = None,
    stage: str | None = None,
    policy: str | PromotionPolicy | None = None,
    store: Store | None = None,
) -> PromotionRequest:
    """Evaluate the gates and ask for an alias; a retry of the task, or another one with the same `key`, asks once.

    Example:
        ```python
        from prefect import flow
        from prefect_ml.tasks import request_promotion

        @flow
        def ask():
            return request_promotion("churn", 1, "champion", requester="ann", key="churn-1")

        assert ask().status == "PENDING"
        ```
    """
    if key is None and (task_run_id := _task_run_id()):
        key = f"task-run-{task_run_id}"
    return announced.request_promotion(
        store or open_store(), name, version, alias, requester=requester, key=key, stage=stage, policy=policy
    )


@task(**PATIENT, task_run_name="decide {request_id}")
def decide_promotion(
    request_id: str, *, approve: bool, actor: str, reason: str = "", store: Store | None = None
) -> PromotionRequest:
    """Record a decision on a promotion request, and let a flow run that waits for it go on; a rejection needs a reason.

    Example:
        ```python
        from prefect import flow
        from prefect_ml.tasks import decide_promotion, request_promotion

        @flow
        def refuse():
            request = request_promotion("churn", 1, "champion", requester="ann")
            return decide_promotion(request.request_id, approve=False, actor="bob", reason="too early")

        assert refuse().status == "REJECTED"
        ```
    """
    decided = waiting.decide(
        store or open_store(), request_id, approve=approve, actor=actor, reason=reason, channel="prefect-task"
    )
    if decided.problem:
        get_run_logger().warning("%s", decided.problem)
    return decided.request


@task(**PATIENT, task_run_name="move alias for {request_id}")
def move_alias(request_id: str, *, actor: str, store: Store | None = None) -> Alias:
    """Move the alias of an approved request, after verifying the artifact once more.

    Example:
        ```python
        from prefect import flow
        from prefect_ml.tasks import decide_promotion, move_alias, request_promotion

        @flow
        def promote():
            request = request_promotion("churn", 1, "champion", requester="ann")
            decide_promotion(request.request_id, approve=True, actor="bob")
            return move_alias(request.request_id, actor="bob")

        assert promote().version == 1
        ```
    """
    found = store or open_store()
    moved = announced.move(found, request_id, actor=actor)
    waiting.wake_overtaken(found, moved.name, moved.alias)
    return moved


@task(**PATIENT, task_run_name="roll {name}@{alias} back")
def rollback_alias(
    name: str, alias: str, *, actor: str, reason: str, key: str | None = None, store: Store | None = None
) -> Alias:
    """Move an alias back to its previous version at once; a retry of the task, or the same `key`, does so once.

    A protected alias goes back at once only for those whom the emergency clause of its policy names; the flow
    `rollback_model` asks for approval instead.

    Example:
        ```python
        from prefect import flow
        from prefect_ml.tasks import rollback_alias

        @flow
        def undo():
            return rollback_alias("churn", "steady", actor="ann", reason="it drifts")

        assert undo().version == 1
        ```
    """
    if key is None and (task_run_id := _task_run_id()):
        key = f"task-run-{task_run_id}"
    found = store or open_store()
    moved = announced.rollback(found, name, alias, actor=actor, reason=reason, key=key)
    waiting.wake_overtaken(found, name, alias)
    return moved


def _task_run_id() -> str:
    """The same for each retry of a task; "" where a task's function is called outside a task run."""
    context = TaskRunContext.get()
    return "" if context is None else str(context.task_run.id)


def _registered_by(store: Store, name: str, task_run_id: str) -> ModelVersion | None:
    """The version that an attempt of this task run registered whose answer was lost."""
    if not task_run_id:
        return None
    found = store.search_model_versions(f"tags.`{TASK_RUN_TAG}` = '{task_run_id}'").items
    return next((version for version in found if version.name == name), None)
