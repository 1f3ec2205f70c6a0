"""`prefect-ml endpoints`."""

from __future__ import annotations

import dataclasses
from getpass import getuser
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import App, Parameter

from prefect_ml.cli.output import Json, console, emit, print_fields, print_json, print_table, when
from prefect_ml.errors import InvalidInputError, PrefectMLError
from prefect_ml.store import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.schemas.objects import State

    from prefect_ml.entities import Endpoint, EndpointReplica, Route
    from prefect_ml.store.contract import Store

app = App(name="endpoints", help="Endpoints: models behind a name, with weights, rollouts and replicas.")

Reason = Annotated[str, Parameter(help="Why; kept in the history and the audit log.")]
Actor = Annotated[str | None, Parameter(help="Who does it; the system's user name by default.")]
_SHADOW = "shadow"


@app.command
def create(name: str, *routes: str, reason: Reason = "", actor: Actor = None, json: Json = False) -> None:
    """Create an endpoint.

    Args:
        name: 1 to 63 lower-case letters, digits and dashes.
        routes: Each a model URI (`models:/churn@champion`, `models:/churn/3`), `URI=PERCENT` or `URI=shadow`; one
            without a percentage has what the others leave.
        reason: Why.
        actor: Who.
        json: Print JSON for programs.
    """
    store = open_store()
    made = store.create_endpoint(name, _routes(store, routes), actor=actor or getuser(), reason=reason)
    _print(made, (), json=json)


@app.command
def deploy(
    name: str,
    model_uri: str,
    *,
    canary: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    seconds: float | None = None,
    patience: float = 3600.0,
    replicas: int = 1,
    timeout: float = 600.0,
    requester: str | None = None,
    json: Json = False,
) -> None:
    """Bring a model to an endpoint: approved where a policy says so, loaded by all replicas, watched, or taken back.

    It runs the flow `deploy-model` here, or with --canary the flow `canary`.

    Args:
        name: The endpoint.
        model_uri: `models:/churn/4`, or an alias that replicas then follow.
        canary: Percentages of the requests that it gets one after the other, such as 5 25 50 100.
        seconds: How long each step is watched; 30 by default, and 300 for a canary.
        patience: Seconds beyond its own that a step of a canary waits for enough requests; 0 goes on without them.
        replicas: How many replicas must be there at least.
        timeout: Seconds until all replicas have loaded it.
        requester: Who asks; the system's user name by default.
        json: Print JSON for programs.
    """
    from prefect_ml.flows.canary import canary as canary_flow  # noqa: PLC0415 (loads Prefect)
    from prefect_ml.flows.deploy_model import deploy_model  # noqa: PLC0415

    given: dict[str, Any] = {"replicas": replicas, "timeout": timeout, "requester": requester or getuser()}
    given |= {} if seconds is None else {"seconds": seconds}
    if canary is None:
        state: Any = deploy_model(name, model_uri, **given, return_state=True)
    else:
        state = canary_flow(name, model_uri, weights=canary, patience=patience, **given, return_state=True)
    done = _outcome(cast("State[Any]", state))
    if json:
        print_json(done)
    elif done is None:
        console.print(f"{model_uri} was rejected; {name} stays as it is.", markup=False)
    else:
        print_fields(f"Endpoint {name}", done)


@app.command
def shadow(name: str, model_uri: str, *, off: bool = False, reason: Reason = "", actor: Actor = None) -> None:
    """Send copies of an endpoint's requests to a model, which answers nobody and is compared; or no longer.

    Args:
        name: The endpoint.
        model_uri: The model.
        off: Whether to end it.
        reason: Why.
        actor: Who.
    """
    from prefect_ml.registry.endpoints import route_of  # noqa: PLC0415

    store = open_store()
    there = store.get_endpoint(name)
    wanted = route_of(store, model_uri, shadow=True)
    if any(route.uri == wanted.uri and not route.shadow for route in there.routes):
        raise InvalidInputError(f"{wanted.uri} answers for {name!r} already; a shadow answers nobody.")
    others = [route for route in there.routes if route.uri != wanted.uri]
    routes = others if off else [*others, wanted]
    changed = store.change_endpoint(
        name, routes, expected_revision=there.revision, actor=actor or getuser(), reason=reason
    )
    _print(changed, (), json=False)


@app.command
def show(name: str, *, json: Json = False) -> None:
    """Show the routes of an endpoint, its replicas, what these counted, and its last revisions."""
    store = open_store()
    found, replicas = store.get_endpoint(name), store.list_endpoint_replicas(name)
    history = store.list_endpoint_revisions(name, max_results=20)
    if json:
        print_json({"endpoint": found, "replicas": replicas, "revisions": history})
        return
    _print(found, replicas, json=False)
    _print_counted(found, replicas)
    print_table(
        "Revisions",
        ("revision", "action", "routes", "changed", "by", "reason"),
        ((r.revision, r.action, _shown(r.routes), when(r.changed_at), r.changed_by, r.reason) for r in history),
    )


@app.command
def rollback(name: str, *, reason: Reason, to: int | None = None, actor: Actor = None, json: Json = False) -> None:
    """Put the routes of an earlier revision in force again; a rollout that is under way ends with that.

    Args:
        name: The endpoint.
        reason: Why.
        to: The revision; the one before the last rollout, or before the last change by hand, by default.
        actor: Who.
        json: Print JSON for programs.
    """
    store = open_store()
    found = store.get_endpoint(name)
    back = store.roll_back_endpoint(
        name, to_revision=to or _before(store, found), expected_revision=found.revision, actor=actor or getuser(),
        reason=reason,
    )  # fmt: skip
    _print(back, (), json=json)


@app.command
def delete(name: str, *, reason: Reason = "", actor: Actor = None) -> None:
    """Delete an endpoint: its replicas refuse requests from then on; its history stays."""
    open_store().delete_endpoint(name, actor=actor or getuser(), reason=reason)
    console.print(f"The endpoint {name} is deleted.", markup=False)


@app.command(name="list")
def list_endpoints(*, json: Json = False) -> None:
    """List the endpoints."""
    found = open_store().list_endpoints()
    emit(
        found,
        json=json,
        title="Endpoints",
        columns=("name", "revision", "routes", "changed", "by"),
        rows=((e.name, e.revision, _shown(e.routes), when(e.changed_at), e.changed_by) for e in found),
    )


def _routes(store: Store, given: Sequence[str]) -> list[Route]:
    from prefect_ml.registry.endpoints import route_of  # noqa: PLC0415

    said = [each.rpartition("=") if "=" in each else (each, "", "") for each in given]
    routes = [route_of(store, uri, _percent(weight), shadow=weight == _SHADOW) for uri, _, weight in said]
    open_ones = [n for n, (_, _, weight) in enumerate(said) if not weight]
    if len(open_ones) > 1:
        raise InvalidInputError(
            "Several routes have no percentage; say that of each but one, such as models:/churn/3=10."
        )
    left = 100.0 - sum(route.weight for route in routes)
    return [dataclasses.replace(each, weight=left) if n in open_ones else each for n, each in enumerate(routes)]


def _percent(text: str) -> float:
    if text in ("", _SHADOW):
        return 0.0
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInputError(f"{text!r} is neither a percentage nor 'shadow'.") from error


def _before(store: Store, found: Endpoint) -> int:
    """The revision before what was done last: before all steps of a rollout, else the one before."""
    if not found.rollout:
        return found.revision - 1
    return store.list_endpoint_revisions(found.name, rollout=found.rollout, max_results=1000)[-1].revision - 1


def _outcome(state: State[Any]) -> Any:
    if state.name == "Rejected":
        return None
    if not state.is_completed():
        raise PrefectMLError(f"{state.name}: {state.message}")
    return state.result()


def _print(endpoint: Endpoint, replicas: Sequence[EndpointReplica], *, json: bool) -> None:
    if json:
        print_json(endpoint)
        return
    print_table(
        f"Endpoint {endpoint.name}, revision {endpoint.revision}",
        ("model", "percent"),
        ((route.uri, _SHADOW if route.shadow else f"{route.weight:g}") for route in endpoint.routes),
    )
    if replicas:
        print_table(
            "Replicas",
            ("replica", "where", "state", "wanted", "loaded", "versions", "requests", "silent", "error"),
            (
                (
                    each.replica_id[:8],
                    each.url or each.host,
                    each.state,
                    each.wanted,
                    each.loaded,
                    [f"{route.name}/{route.version}" for route in each.routes],
                    sum(route.requests for route in each.routes),
                    f"{each.silent:.0f} s",
                    each.error,
                )
                for each in replicas
            ),
        )


def _print_counted(found: Endpoint, replicas: Sequence[EndpointReplica]) -> None:
    """What all replicas counted of each route since the revision; of shadows, how often they predict otherwise."""
    from prefect_ml.registry.traffic import traffic_of  # noqa: PLC0415

    counted = [(route, traffic_of(replicas, {route.uri}, found.revision)) for route in found.routes]
    if not any(each.loaded == found.revision for each in replicas):
        return
    print_table(
        f"Counted since revision {found.revision}",
        ("model", "requests", "not answered 200", "p95", "compared", "differing"),
        (
            (
                route.uri,
                seen.requests,
                seen.errors,
                "" if seen.p95 is None else f"{seen.p95 * 1000:.3g} ms",
                seen.compared if route.shadow else "",
                seen.differing if route.shadow else "",
            )
            for route, seen in counted
        ),
    )


def _shown(routes: Sequence[Route]) -> str:
    return ", ".join(f"{route.uri} {_SHADOW if route.shadow else f'{route.weight:g} %'}" for route in routes)
