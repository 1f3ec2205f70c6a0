"""The scheduled flow that judges the champions again, and demotes those that have decayed as their policy says."""

from __future__ import annotations

import dataclasses
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.states import Completed

from prefect_ml.blocks.server import named_store
from prefect_ml.entities import Alias, Decay, GateResult, Policy, RecordedGate
from prefect_ml.errors import ArtifactError, NotFoundError, PrefectMLError, StoreUnavailableError
from prefect_ml.flowruns.telling import tell_soon
from prefect_ml.flows.challenger import names_of
from prefect_ml.flows.gates import judge
from prefect_ml.flows.notify import Notice, notify
from prefect_ml.registry.description import escape
from prefect_ml.registry.evaluation import EvaluationSet, current_set
from prefect_ml.registry.gates import Gate
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.registry.promotion import stored_digest
from prefect_ml.settings import Settings
from prefect_ml.store.contract import Store
from prefect_ml.store.evidence import spec_digest

# Gates that only compare a version with the champion: a champion is no better than itself.
_COMPARING = frozenset({"better_than_champion", "compared_with_champion", "signature_compatible"})
_ACTOR = "revalidate-champions"
_MAX_REASON = 2000
_DONE = {
    Decay.NOTHING: "its policy leaves it where it is",
    Decay.ROLLED_BACK: "the alias went back to the version before",
    Decay.REMOVED: "the alias was removed",
    Decay.NOTHING_BEFORE: "there is no version to go back to, so it stays where it is",
    Decay.MOVED_MEANWHILE: "the alias moved meanwhile",
}


@flow(name="revalidate-champions", flow_run_name="revalidate @{alias} of {models}")
def revalidate_champions(models: str = "*", alias: str = "champion", tracking_server: str | None = None) -> Any:
    """Judge each champion by the gates of the policy in force, and do what the policy says with one that fails.

    Gates that compare with the champion are left out: there is nothing to compare it with. A gate that names an
    evaluation set judges by what is at its URI by now, whatever digest the policy pins for promotions; a champion whose
    data cannot be read is not judged. What a failed gate leads to is the policy's `on_decay`: nothing, a rollback to
    the version before, or the removal of the alias; each is in the audit log with its evidence, an event, and told to
    the policy's notification blocks. An alias that moves meanwhile is left alone.

    Args:
        models: A pattern over model names, with `*` and `?`.
        alias: The alias of the champions.
        tracking_server: A TrackingServer block by name; the settings of the process when empty.

    Returns:
        For each champion that a policy protects: `name`, `version`, `passed` (None when it could not be judged: then
        the flow run is named "Incomplete"), `gates` (whether each passed), `left_out` (names of gates), `why` and
        `done`, one of `Decay` or "".
    """
    store = named_store(tracking_server)
    context = FlowRunContext.get()
    run_id = str(context.flow_run.id) if context is not None and context.flow_run is not None else ""
    found = []
    for name in names_of(store, models):
        held, policy = _held(store, name, alias), store.policy_for(name, alias)
        if held is not None and policy is not None:
            found.append(_revalidated(store, held, policy, run_id))
    create_markdown_artifact(_markdown(found, alias), key="revalidated", description=f"Champions of {models}")
    decayed = sum(each["passed"] is False for each in found)
    unjudged = sum(each["passed"] is None for each in found)
    get_run_logger().info("%d champions, %d decayed, %d could not be judged.", len(found), decayed, unjudged)
    if unjudged:
        return Completed(name="Incomplete", message=f"{unjudged} champions could not be judged.", data=found)
    return found


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[1, 5, 15], task_run_name="decay of {held.name}")
def record_decay(held: Alias, results: list[GateResult], reason: str, store: Store) -> Decay:
    """Record that a champion has decayed, and do what the policy in force says."""
    done = store.record_decay(
        held.name,
        held.alias,
        generation=held.generation,
        evidence=results,
        actor=_ACTOR,
        reason=reason,
        previous_intact=_intact(store, held.name, held.previous_version),
    )
    tell_soon(store)
    return done


def _revalidated(store: Store, held: Alias, policy: Policy, run_id: str) -> dict[str, Any]:
    told: dict[str, Any] = {"name": held.name, "version": held.version, "passed": None, "gates": {}, "left_out": []}
    told |= {"why": "", "done": ""}
    try:
        gates = PromotionPolicy.from_entity(policy).gates
        told["left_out"] = [gate.name for gate in gates if _only_compares(gate)]
        results = [_result(store, gate, held, run_id) for gate in gates if not _only_compares(gate)]
        told["gates"] = {result.gate: result.passed for result in results}
        told["passed"] = all(result.passed for result in results)
        told["why"] = "; ".join(f"{result.gate}: {result.summary}" for result in results if not result.passed)
        if not told["passed"]:
            done = record_decay(held, results, told["why"][:_MAX_REASON], store)
            told["done"] = str(done)
            _tell(held, policy, done, told["why"], run_id)
    except StoreUnavailableError:
        raise
    except PrefectMLError as error:
        get_run_logger().warning("@%s of %s could not be revalidated: %s", held.alias, held.name, error)
        told["why"] = str(error)
    return told


def _only_compares(gate: Gate) -> bool:
    """Whether a gate says nothing of a version by itself."""
    bounds = [getattr(gate, bound, None) for bound in ("minimum", "maximum")]
    return gate.type in _COMPARING or (gate.type == "slices" and bounds == [None, None])


def _with_fresh_data(gate: Gate, store: Store) -> Gate:
    """A gate that names an evaluation set, with the data that are there by now."""
    data = getattr(gate, "data", None)
    if not isinstance(data, EvaluationSet):
        return gate
    return gate.model_copy(update={"data": current_set(data, store, Settings())})


def _result(store: Store, named: Gate, held: Alias, run_id: str) -> GateResult:
    """What a gate finds, recorded under the flow run; a run that was interrupted finds it there."""
    gate = _with_fresh_data(named, store)
    key = f"revalidation-{run_id}-{held.name}@{held.alias}"
    about = RecordedGate(
        key=key,
        name=held.name,
        version=held.version,
        alias=held.alias,
        spec_digest=spec_digest(gate.model_dump(mode="json", exclude_none=True)),
        artifact_digest=store.get_model_version(held.name, held.version).artifact_digest,
        champion_generation=held.generation,
        result=GateResult(gate.name, passed=False, summary=""),
    )
    for known in store.get_gate_results(key):
        if dataclasses.replace(known, result=about.result, at=0) == about and known.result.gate == gate.name:
            return known.result
    # Against nobody: what holds the alias is the version itself.
    found = judge(gate, held.name, held.version, held.alias, request_key=key, store=store, against=0)
    return store.record_gate_result(dataclasses.replace(about, result=found)).result


def _tell(held: Alias, policy: Policy, done: Decay, why: str, run_id: str) -> None:
    if done is Decay.MOVED_MEANWHILE:
        return
    reason = f"{_DONE[done]}. {why}"
    notify(policy.notify, Notice("decayed", held.name, held.version, held.alias, reason=reason, flow_run_id=run_id))


def _held(store: Store, name: str, alias: str) -> Alias | None:
    try:
        return store.get_alias(name, alias)
    except NotFoundError:
        return None


def _intact(store: Store, name: str, version: int | None) -> bool:
    """Whether the files of a version are those that were registered."""
    if version is None:
        return False
    try:
        registered = store.get_model_version(name, version).artifact_digest
        return not registered or stored_digest(store, name, version) == registered
    except (NotFoundError, ArtifactError):
        return False


def _markdown(found: list[dict[str, Any]], alias: str) -> str:
    lines = [
        f"## Champions (@{escape(alias)})",
        "",
        "| model | version | | gates | left out | |",
        "|---|---:|---|---|---|---|",
    ]
    verdicts = {True: "✅ passed", False: "❌ decayed", None: "could not be judged"}
    for each in found:
        gates = ", ".join(f"{name} {'passed' if passed else 'failed'}" for name, passed in each["gates"].items())
        outcome = ". ".join(part for part in (_DONE.get(each["done"], ""), each["why"]) if part)
        cells = (each["name"], each["version"], verdicts[each["passed"]], gates, ", ".join(each["left_out"]), outcome)
        lines.append("| " + " | ".join(cell if cell in verdicts.values() else escape(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"
