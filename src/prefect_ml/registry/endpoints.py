"""What becomes of an endpoint's routes when a model is brought to it, and whose approval that needs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from prefect_ml.entities import Route
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.models.uri import ModelUri, UriKind
from prefect_ml.registry.resolve import resolve
from prefect_ml.store.endpoint_routes import ENDPOINT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.entities import Endpoint
    from prefect_ml.store.contract import Store

_WHOLE = 100.0


def route_of(store: Store, uri: str, weight: float = 0.0, *, shadow: bool = False) -> Route:
    """The route to a registered model: an alias is followed, a stage and `latest` mean the version of now.

    Args:
        store: where the registry is.
        uri: such as `models:/churn/3` or `models:/churn@champion`.
        weight: percent of the requests.
        shadow: whether it gets copies instead.

    Raises:
        InvalidInputError: the URI is of another kind.
        NotFoundError: there is no such version or alias.
    """
    parsed = ModelUri.parse(uri)
    if parsed.kind not in (UriKind.VERSION, UriKind.ALIAS, UriKind.STAGE, UriKind.LATEST):
        raise InvalidInputError(
            f"An endpoint routes to registered models, such as models:/churn/3 or models:/churn@champion, not to "
            f"{uri!r}; register the model first."
        )
    found = resolve(store, uri)
    version = None if parsed.kind is UriKind.ALIAS else found.version
    return Route(parsed.name, version, parsed.alias or None, weight, shadow)


def routes_with(base: Sequence[Route], new: Route, weight: float) -> list[Route]:
    """The routes of an endpoint with a new one, the others sharing what it leaves as they shared all before.

    Args:
        base: the routes before.
        new: the route that comes; one to the same model is replaced.
        weight: its percent.
    """
    others = [route for route in base if route.uri != new.uri]
    total = sum(route.weight for route in others)
    if not total:
        weight = _WHOLE
    shared = [dataclasses.replace(r, weight=r.weight * (_WHOLE - weight) / total) if r.weight else r for r in others]
    return [*shared, dataclasses.replace(new, weight=weight, shadow=False)]


def routes_alone(base: Sequence[Route], new: Route) -> list[Route]:
    """The routes of an endpoint that a new one answers alone; shadows stay."""
    shadows = [route for route in base if route.shadow and route.uri != new.uri]
    return [dataclasses.replace(new, weight=_WHOLE, shadow=False), *shadows]


def answers_alone(base: Sequence[Route], new: Route) -> bool:
    """Whether a route has all of the weight already."""
    return any(route.uri == new.uri and route.weight == _WHOLE for route in base)


def alias_to_ask_for(store: Store, endpoint: Endpoint, route: Route) -> str | None:
    """The alias whose policy must approve a version before it answers for an endpoint; None where none must.

    It is a protected alias that the endpoint routed to, or `endpoint.<name>`, where a policy lists that. A version that
    is at one of them needs no further approval, and neither does a route to an alias: its policy approves each version.
    """
    if route.alias is not None:
        return None
    known = [alias for model, _, alias in (each.rpartition("@") for each in endpoint.bound) if model == route.name]
    guards = [alias for alias in (*known, ENDPOINT_ALIAS.format(endpoint.name)) if _protects(store, route.name, alias)]
    if not guards or any(_is_at(store, route, alias) for alias in guards):
        return None
    return guards[0]


def final_route(endpoint: Endpoint, route: Route, alias: str | None) -> Route:
    """What stays of a route that was approved for an alias: the alias itself, where the endpoint routes to it."""
    if alias is not None and f"{route.name}@{alias}" in endpoint.bound:
        return Route(route.name, alias=alias)
    return route


def _protects(store: Store, name: str, alias: str) -> bool:
    policy = store.policy_for(name, alias)
    return policy is not None and alias in policy.aliases


def _is_at(store: Store, route: Route, alias: str) -> bool:
    try:
        return store.get_alias(route.name, alias).version == route.version
    except NotFoundError:
        return False
