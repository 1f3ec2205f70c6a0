"""Bringing a model to an endpoint, step by step: approved, loaded everywhere, given weight, watched, or taken back.

Each step is a revision of the endpoint under the name of the flow run, and is read from there: a run that was killed
and is executed again goes on where it was.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from prefect import get_run_logger, task
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Failed

from prefect_ml.entities import Endpoint, PromotionRequest, RequestStatus, Route
from prefect_ml.errors import ProtectedError, StaleRevisionError
from prefect_ml.flowruns import announced, rollout, rounds
from prefect_ml.flows import gates
from prefect_ml.flows.approval import await_decision
from prefect_ml.flows.notify import notify_of_request
from prefect_ml.flows.page import publish_request, publish_text
from prefect_ml.flows.rollout import carry_out
from prefect_ml.registry import endpoints, rollouts
from prefect_ml.registry.description import escape
from prefect_ml.registry.gates import Gate
from prefect_ml.registry.traffic import Traffic, drift, traffic_of
from prefect_ml.store.contract import Store
from prefect_ml.tasks import PATIENT

_POLL_SECONDS = 0.5
_LONGEST_REASON = 1500


class Asked(NamedTuple):
    """What a rollout is asked to do.

    Attributes:
        endpoint: its name.
        route: to the model that comes.
        weights: percent that it gets, step by step; 100 at last.
        seconds: that it is watched at each.
        bounds: what it may do worse.
        replicas: that must have loaded it at least.
        timeout: seconds until all have.
        patience: seconds beyond a step's own that it may take until it was asked often enough.
        requester: who asks.
    """

    endpoint: str
    route: Route
    weights: tuple[float, ...]
    seconds: float
    bounds: rollouts.Bounds
    replicas: int
    timeout: float
    patience: float
    requester: str


def roll_out(store: Store, run: FlowRun, asked: Asked) -> dict[str, Any] | State[Any]:
    """Take all steps that are left, and say how it ended; see the flows that call this."""
    seen = rollouts.progress(store, asked.endpoint, _key(run))
    if seen.rolled_back and seen.last is not None:
        return _rolled_back(seen.last, seen.last.reason)
    if seen.last is None and endpoints.answers_alone(seen.base.routes, asked.route):
        return _told(seen.base)
    alias = endpoints.alias_to_ask_for(store, seen.base, asked.route)
    request = _approved(store, run, asked, alias)
    if request is not None and request.status not in (RequestStatus.APPROVED, RequestStatus.PROMOTED):
        return _not_approved(asked, request)
    try:
        return _in_steps(store, run, asked, request)
    except ProtectedError as error:
        return _back(store, run, asked, request, f"a version may not answer: {error}")
    except StaleRevisionError as error:
        _withdraw(store, request, asked, f"the rollout was overtaken: {error}")
        return Failed(name="Superseded", message=f"{asked.route.uri} was not brought to {asked.endpoint}: {error}")


def _in_steps(
    store: Store, run: FlowRun, asked: Asked, request: PromotionRequest | None
) -> dict[str, Any] | State[Any]:
    key, count = _key(run), len(asked.weights)
    for number, weight in enumerate((0.0, *asked.weights)):
        seen = rollouts.progress(store, asked.endpoint, key)
        if seen.last is not None and seen.last.step > number:
            continue
        routes = (
            endpoints.routes_with(seen.base.routes, asked.route, weight) if number else _without_weight(seen, asked)
        )
        revision = shift(store, asked, key, number, routes, f"step {number} of {count}: {weight:g} %")
        why = await_loaded(store, asked, revision) or (watch(store, asked, revision) if number else "")
        if number:
            publish_text(run, f"rollout {asked.endpoint} step {number}", *_page(store, asked, revision, why))
        if why:
            return _back(store, run, asked, request, why)
    return _finish(store, run, asked, request)


def _without_weight(seen: rollouts.Progress, asked: Asked) -> list[Route]:
    """The routes before, and the new one loaded beside them."""
    there = next((route for route in seen.base.routes if route.uri == asked.route.uri), None)
    if there is not None and not there.shadow:
        return list(seen.base.routes)
    others = [route for route in seen.base.routes if route.uri != asked.route.uri]
    return [*others, dataclasses.replace(asked.route, weight=0.0, shadow=False)]


def _finish(store: Store, run: FlowRun, asked: Asked, request: PromotionRequest | None) -> dict[str, Any] | State[Any]:
    if request is not None:
        request = carry_out(store, request)
        publish_request(run, "decision", request, store)
        problem = rollout.failed(rollout.results(store, request, "soak"))
        if request.status is not RequestStatus.PROMOTED or problem is not None:
            why = problem.summary if problem is not None else request.status_reason or request.status
            return _back(store, run, asked, None, f"its promotion to @{request.alias} came to nothing: {why}")
    seen = rollouts.progress(store, asked.endpoint, _key(run))
    final = endpoints.final_route(seen.in_force, asked.route, request.alias if request is not None else None)
    routes = endpoints.routes_alone([r for r in seen.base.routes if r.uri != asked.route.uri], final)
    done = shift(store, asked, _key(run), len(asked.weights) + 1, routes, "it answers alone")
    if why := await_loaded(store, asked, done):
        get_run_logger().warning("The rollout is done, but %s.", why)
    return _told(done)


@task(**PATIENT, task_run_name="shift {asked.endpoint}: {reason}")
def shift(  # noqa: PLR0917
    store: Store, asked: Asked, key: str, step: int, routes: Sequence[Route], reason: str
) -> Endpoint:
    """Put the routes of a step in force, once."""
    seen = rollouts.progress(store, asked.endpoint, key)
    return announced.change_endpoint(
        store,
        asked.endpoint,
        routes,
        expected_revision=(seen.last or seen.base).revision,
        actor=asked.requester,
        reason=f"{asked.route.uri}, {reason}",
        rollout=key,
        step=step,
    )


@task(**PATIENT, task_run_name="await replicas of {asked.endpoint} at revision {revision.revision}")
def await_loaded(store: Store, asked: Asked, revision: Endpoint) -> str:
    """Wait until all replicas that are alive answer by a revision; why they never will, "" when they do."""
    deadline = revision.changed_at / 1000 + asked.timeout
    while True:
        replicas = store.list_endpoint_replicas(asked.endpoint)
        if why := rollouts.failed(replicas, revision.revision):
            return why
        missing = rollouts.waits_for(replicas, revision.revision, asked.replicas)
        if not missing:
            return ""
        if time.time() > deadline:
            return f"after {asked.timeout:g} s {missing}"
        time.sleep(_POLL_SECONDS)


@task(**PATIENT, task_run_name="watch {asked.endpoint} at revision {revision.revision}")
def watch(store: Store, asked: Asked, revision: Endpoint) -> str:
    """Watch what the new version does for the seconds of a step; why it is to be taken back, "" when it is not.

    Raises:
        StaleRevisionError: somebody else changed the endpoint.
    """
    due = revision.changed_at / 1000 + asked.seconds
    while True:
        in_force = store.get_endpoint(asked.endpoint)
        if in_force.revision != revision.revision:
            raise StaleRevisionError(
                f"{in_force.changed_by or 'Somebody'} put revision {in_force.revision} of {asked.endpoint!r} in force "
                f"meanwhile ({in_force.reason or 'no reason given'})."
            )
        replicas = store.list_endpoint_replicas(asked.endpoint)
        new, usual = _traffic(asked, revision, replicas)
        if why := rollouts.failed(replicas, revision.revision) or "; ".join(rollouts.broken(new, usual, asked.bounds)):
            return why
        if time.time() >= due:
            if new.requests >= asked.bounds.requests:
                return ""
            if time.time() >= due + asked.patience:
                needed = f"only {new.requests} of {asked.bounds.requests} requests came to judge it by"
                return needed if asked.patience else ""
        time.sleep(_POLL_SECONDS)


@task(**PATIENT, task_run_name="roll {asked.endpoint} back")
def take_back(store: Store, asked: Asked, key: str, why: str) -> Endpoint:
    """Put the routes from before the rollout in force again, once."""
    get_run_logger().error("%s is taken back from %s: %s", asked.route.uri, asked.endpoint, why)
    seen = rollouts.progress(store, asked.endpoint, key)
    if seen.last is None:
        return seen.base
    return announced.roll_back_endpoint(
        store,
        asked.endpoint,
        to_revision=seen.base.revision,
        expected_revision=seen.last.revision,
        actor=asked.requester,
        reason=f"{asked.route.uri}: {why}"[:_LONGEST_REASON],
        rollout=key,
        step=seen.last.step,
    )


def _approved(store: Store, run: FlowRun, asked: Asked, alias: str | None) -> PromotionRequest | None:
    """The decided request of a version that needs approval; None for one that needs none."""
    key = rounds.of_endpoint(run.id)
    request = store.get_request_by_key(key)
    if request is None:
        if alias is None or asked.route.version is None:
            return None
        name, version = asked.route.name, asked.route.version

        def judge(gate: Gate) -> Any:
            return gates.judge(gate, name, version, alias, request_key=key, store=store)

        request = announced.request_promotion(
            store, name, version, alias, requester=asked.requester, key=key, flow_run_id=str(run.id), judge=judge
        )
        publish_request(run, "evidence", request, store)
        notify_of_request(store, request)
    decided = await_decision(store, request, note=f"It will be rolled out at the endpoint {asked.endpoint}.")
    if decided.status is not request.status:
        notify_of_request(store, decided, request)
    return decided


def _back(
    store: Store, run: FlowRun, asked: Asked, request: PromotionRequest | None, why: str
) -> dict[str, Any] | State[Any]:
    back = take_back(store, asked, _key(run), why)
    _withdraw(store, request, asked, why)
    return _rolled_back(back, f"{asked.route.uri}: {why}")


def _withdraw(store: Store, request: PromotionRequest | None, asked: Asked, why: str) -> None:
    """Close the request of a version that was taken back, so that nobody carries it out."""
    if request is not None and store.get_request(request.request_id).status is RequestStatus.APPROVED:
        reason = f"taken back from the endpoint {asked.endpoint}: {why}"[:_LONGEST_REASON]
        store.withdraw_request(request.request_id, actor=asked.requester, reason=reason)


def _rolled_back(back: Endpoint, why: str) -> State[Any]:
    message = f"{back.name} is as it was before (revision {back.revision}): {why}"
    return Failed(name="RolledBack", message=message)


def _not_approved(asked: Asked, request: PromotionRequest) -> State[Any]:
    message = f"{asked.route.uri} was not approved for {asked.endpoint}: {request.status_reason or request.status}"
    if request.status is RequestStatus.REJECTED and any(not d.approve for d in request.decisions):
        return Completed(name="Rejected", message=message)
    name = "GatesFailed" if request.status is RequestStatus.REJECTED else request.status.capitalize()
    return Failed(name=name, message=message)


def _told(revision: Endpoint) -> dict[str, Any]:
    routes = {route.uri: "shadow" if route.shadow else route.weight for route in revision.routes}
    return {"endpoint": revision.name, "revision": revision.revision, "routes": routes}


def _key(run: FlowRun) -> str:
    return f"flow-run-{run.id}"


def _traffic(asked: Asked, revision: Endpoint, replicas: Sequence[Any]) -> tuple[Traffic, Traffic]:
    others = {route.uri for route in revision.routes if route.weight and route.uri != asked.route.uri}
    new = traffic_of(replicas, {asked.route.uri}, revision.revision)
    return new, traffic_of(replicas, others, revision.revision)


def _page(store: Store, asked: Asked, revision: Endpoint, why: str) -> tuple[str, str]:
    """What was seen at a step, as Markdown, and its headline."""
    new, usual = _traffic(asked, revision, store.list_endpoint_replicas(asked.endpoint))
    apart = drift(usual.predictions, new.predictions)
    rows = [
        ("requests", new.requests, usual.requests),
        ("not answered 200", f"{new.error_rate:.2%}", f"{usual.error_rate:.2%}"),
        ("p95 latency", *(f"{p95:.3g} s" if (p95 := each.p95) else "" for each in (new, usual))),
    ]
    table = "\n".join(f"| {what} | {one} | {other} |" for what, one, other in rows)
    said = f"Predictions: population stability index {apart.index:.3f} (chance: {apart.noise:.3f})." if apart else ""
    outcome = f"**Taken back:** {escape(why)}" if why else "It goes on."
    title = f"{asked.endpoint}, {revision.reason}"
    about = f"| | {escape(asked.route.uri)} | the others |\n|---|---|---|\n{table}"
    return f"## {escape(title)}\n\nRevision {revision.revision}. {outcome}\n\n{about}\n\n{said}\n", title
