"""What endpoints route to, which nobody may take away from under them."""

from __future__ import annotations

import json
from collections import defaultdict
from shlex import quote
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, and_, func, select

from prefect_ml.entities import EndpointAction, Route
from prefect_ml.entities.endpoints import ENDPOINT_URI
from prefect_ml.errors import ProtectedError
from prefect_ml.store.endpoint_tables import endpoint_revisions
from prefect_ml.store.registry_tables import aliases, registered_models

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


def read_routes(text: str) -> tuple[Route, ...]:
    """Routes as they were kept."""
    return tuple(Route(**route) for route in json.loads(text))


def weights_of(routes: Iterable[Route]) -> dict[str, float | str]:
    """How much each route answers, by its URI, as the audit log tells it."""
    return {route.uri: "shadow" if route.shadow else route.weight for route in routes}


def in_force() -> Select[Any]:
    """The newest revision of each endpoint that was not deleted, by name."""
    revisions = endpoint_revisions.c
    newest = select(revisions.name, func.max(revisions.revision).label("revision")).group_by(revisions.name)
    latest = newest.subquery()
    joined = and_(revisions.name == latest.c.name, revisions.revision == latest.c.revision)
    query = select(endpoint_revisions).join(latest, joined).where(revisions.action != EndpointAction.DELETED)
    return query.order_by(revisions.name)


def refuse_routed(
    connection: Connection, name: str, what: str, *, version: int | None = None, alias: Sequence[str] | None = None
) -> None:
    """Refuse a change that would take from a model what an endpoint routes to, as a shadow or without weight included.

    Args:
        connection: of the transaction that makes the change.
        name: the model.
        what: cannot be done, for the message, such as "delete version 3 of 'churn'".
        version: the only one that would go; with none and no `alias`, all of the model would.
        alias: those that would go.

    Raises:
        ProtectedError: an endpoint routes to it; the message says which, and how to route elsewhere.
    """
    for endpoint, route in _routes(connection):
        whole = version is None and alias is None
        here = whole or route.alias in (alias or ()) or (route.alias is None and route.version == version)
        if route.name == name and here:
            way = f"shadow {endpoint} {quote(route.uri)} --off" if route.shadow else f"deploy {endpoint} MODEL_URI"
            raise ProtectedError(
                f"Cannot {what}: the endpoint {endpoint!r} routes to {route.uri}, and its replicas load it when they "
                f"start. Take the route away first: prefect-ml endpoints {way}; or delete the endpoint: prefect-ml "
                f"endpoints delete {endpoint}"
            )


def routed_versions(connection: Connection) -> Mapping[tuple[str, int], Sequence[str]]:
    """The endpoints behind each version that one routes to, by the model's name and the version."""
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    joined = registered_models.c.id == aliases.c.model
    query = select(registered_models.c.name, aliases.c.alias, aliases.c.version)
    at = {
        (row.name, row.alias): row.version
        for row in connection.execute(query.join_from(aliases, registered_models, joined))
    }
    for endpoint, route in _routes(connection):
        version = at.get((route.name, route.alias)) if route.alias is not None else route.version
        if version is not None:
            found[route.name, version].add(f"{ENDPOINT_URI}{endpoint}")
    return {key: sorted(endpoints) for key, endpoints in found.items()}


def _routes(connection: Connection) -> Iterator[tuple[str, Route]]:
    for row in connection.execute(in_force()):
        for route in read_routes(row.routes):
            yield row.name, route
