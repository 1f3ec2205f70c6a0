"""Gates in a flow: each a task run, those of the user's own flows runs of their deployments."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from prefect import get_run_logger, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.filesystems import LocalFileSystem
from prefect.results import get_default_result_storage, resolve_result_storage
from prefect.states import Cancelling
from pydantic import ValidationError

from prefect_ml.entities import GateResult
from prefect_ml.errors import InvalidInputError
from prefect_ml.flowruns.rollout import candidate_of
from prefect_ml.registry.flow_gate import FlowGate
from prefect_ml.registry.gate import Verdict
from prefect_ml.registry.gates import Gate, result_of
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store
from prefect_ml.tasks import PATIENT, evaluate_gate

_PASSED = "Passed"
_MAX_RESULT = 4 << 20
_MAX_EVIDENCE = 64 << 10
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
# How long Prefect's API may be away at a time while a run is watched, in seconds.
_AWAY = 120.0


def judge(
    gate: Gate, name: str, version: int, alias: str, *, request_key: str, store: Store, against: int | None = None
) -> GateResult:
    """Judge a version by one gate of any kind, as a task run of the flow that is running.

    Args:
        gate: the gate.
        name: the registered model.
        version: the version that asks.
        alias: the alias that it asks for.
        request_key: with the gate's name, it names the run of a gate that is a flow: the same one for the same key.
        store: where the registry is.
        against: the version that it is compared with, 0 for none; the one that holds the alias by default.
    """
    if isinstance(gate, FlowGate):
        return evaluate_flow_gate(gate, name, version, alias, request_key=request_key, against=against, store=store)
    return evaluate_gate(gate, name, version, alias, against=against, store=store)


@task(**PATIENT, task_run_name="gate {gate.name} by {gate.deployment}")
def evaluate_flow_gate(
    gate: FlowGate,
    name: str,
    version: int,
    alias: str,
    *,
    request_key: str,
    against: int | None = None,
    store: Store | None = None,
) -> GateResult:
    """Let a deployment judge a version; the same request key gives the same run, however often it is asked.

    Example:
        ```python
        from prefect import flow
        from prefect_ml.flows.gates import evaluate_flow_gate
        from prefect_ml.registry.flow_gate import FlowGate

        @flow
        def check():
            gate = FlowGate(deployment="no-such-flow/default", timeout=60.0)
            return evaluate_flow_gate(gate, "churn", 1, "champion", request_key="churn-1")

        assert not check().passed
        ```
    """
    candidate = candidate_of(store or open_store(), name, version, alias, against)
    given = {"name": name, "version": version, "alias": alias, "request_key": request_key}
    return result_of(gate, candidate, _judged(gate, {**gate.parameters, **given}, f"{request_key}-{gate.name}"))


class _Ended(NamedTuple):
    """A run as it was last seen; `state` is None when it did not end in time."""

    run: FlowRun
    state: State[Any] | None


def _judged(gate: FlowGate, parameters: Mapping[str, Any], key: str) -> Verdict:
    evidence: dict[str, Any] = {"deployment": gate.deployment}
    try:
        run = _now(
            run_deployment(
                gate.deployment, parameters=dict(parameters), timeout=0, as_subflow=False, idempotency_key=key
            )
        )
    except ObjectNotFound:
        summary = f"there is no deployment {gate.deployment!r}; deploy the flow, or have the policy changed"
        return Verdict(False, summary, evidence)
    except (httpx.HTTPStatusError, PrefectException, ValidationError) as error:
        said = error.response.text[:500] if isinstance(error, httpx.HTTPStatusError) else str(error)
        return Verdict(False, f"Prefect did not start the deployment {gate.deployment!r}: {said}", evidence)
    get_run_logger().info("The gate %s is judged by the flow run %s (%s).", gate.name, run.name, run.id)
    evidence |= {"flow_run_id": str(run.id), "flow_run": run.name}
    ended = _watched(run, gate.timeout)
    if ended.state is None:
        now = ended.run.state.name if ended.run.state else "unknown"
        summary = f"the flow run {run.name!r} is {now} and did not end within {gate.timeout:g} seconds; it is cancelled"
        return Verdict(False, summary, {**evidence, "state": now})
    return _verdict(ended.state, {**evidence, "state": ended.state.name})


def _watched(run: FlowRun, timeout: float) -> _Ended:
    """Wait for a run's end; the time counts from its creation, so that watching again gives it no more."""
    age = 0.0 if run.created is None else max(0.0, time.time() - run.created.timestamp())
    until = time.monotonic() + timeout - age
    pause, away_since = _FIRST_PAUSE, None
    with get_client(sync_client=True) as client:
        while True:
            try:
                run = client.read_flow_run(run.id)
                away_since = None
            except httpx.TransportError:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > _AWAY:
                    raise
            if run.state is not None and run.state.is_final():
                return _Ended(run, run.state)
            if time.monotonic() >= until:
                _cancel(client, run.id)
                return _Ended(run, None)
            time.sleep(min(pause, max(0.0, until - time.monotonic())))
            pause = min(_LONGEST_PAUSE, pause * 1.5)


def _cancel(client: SyncPrefectClient, run_id: UUID) -> None:
    try:
        client.set_flow_run_state(run_id, Cancelling(message="The gate that it judges took too long."))
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().warning("The flow run %s could not be cancelled: %s", run_id, error)


def _verdict(state: State[Any], evidence: Mapping[str, Any]) -> Verdict:
    if not state.is_completed():
        return Verdict(False, f"the flow run ended {state.name}: {state.message or 'it left no message'}", evidence)
    try:
        result = _result(state.data)
    except InvalidInputError as error:
        result = None
        evidence = {**evidence, "result": str(error)}
    if isinstance(result, Mapping) and isinstance(result.get("passed"), bool):
        told = result.get("evidence")
        more = told if isinstance(told, Mapping) and len(json.dumps(told)) <= _MAX_EVIDENCE else {}
        passed = result["passed"]
        summary = str(result.get("summary") or f"the flow says that it {'passed' if passed else 'failed'}")
        return Verdict(passed, summary, {**evidence, "told": dict(more)})
    if state.name == _PASSED:
        return Verdict(True, state.message or "the flow run ended Passed", evidence)
    why = evidence.get("result") or state.message or "it said nothing"
    return Verdict(
        False,
        f"the flow run ended {state.name} without a verdict ({why}); let the flow return a dict with `passed` and "
        "persist it as JSON, or return Completed(name='Passed')",
        evidence,
    )


def _result(kept: Any) -> Any:
    """A persisted result that is JSON; nothing is unpickled, whatever a state or a file says.

    Raises:
        InvalidInputError: it is kept in another way, or cannot be read.
    """
    # Of whatever class Prefect makes it: where a result is kept, and no result.
    key, block_id = getattr(kept, "storage_key", None), getattr(kept, "storage_block_id", None)
    if not isinstance(key, str):
        return None
    kind = getattr(getattr(kept, "serializer", None), "type", None)
    if kind != "json":
        raise InvalidInputError(f"its result is kept by {kind}; give the flow result_serializer='json'")
    try:
        content = _read(key, block_id)
        if len(content) > _MAX_RESULT:
            raise InvalidInputError(f"its result has more than {_MAX_RESULT >> 20} MiB")  # noqa: TRY301 - it is told as the others
        result = json.loads(content)
        if isinstance(result, dict) and result.keys() == {"metadata", "result"}:
            result = json.loads(result["result"])
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError(f"its result cannot be read: {type(error).__name__}: {error}") from error
    return result


def _read(key: str, block_id: UUID | None) -> bytes:
    if block_id is not None:
        storage: Any = resolve_result_storage(block_id)
    elif Path(key).is_absolute():
        storage = LocalFileSystem(basepath=str(Path(key).parent))
    else:
        storage = get_default_result_storage()
    found = _now(_now(storage).read_path(key))
    return bytes(found)


def _now(value: Any) -> Any:
    """Prefect answers now or later, by where it is asked."""
    if inspect.isawaitable(value):

        async def waited() -> Any:
            return await value

        return asyncio.run(waited())
    return value
