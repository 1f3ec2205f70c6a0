"""What may stand behind an endpoint: routes that can be, and versions that its policies let answer."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from prefect_ml.entities import RequestStatus, Route
from prefect_ml.errors import InactiveError, InvalidInputError, InvalidNameError, ProtectedError
from prefect_ml.store.aliases import current_alias, existing_alias
from prefect_ml.store.audit_proof import refuse_unmoved, refuse_unproven
from prefect_ml.store.canonical import canonical
from prefect_ml.store.held import being_removed
from prefect_ml.store.names import check_text
from prefect_ml.store.policies import in_force, protecting_alias
from prefect_ml.store.promotion_moves import too_old
from prefect_ml.store.registry_names import check_alias, check_model_name, check_version
from prefect_ml.store.registry_rows import find_version
from prefect_ml.store.registry_tables import promotion_requests
from prefect_ml.store.rows import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prefect_ml.entities import Policy

# A policy that lists this alias of a model protects what an endpoint answers with, though nothing may be at the alias.
ENDPOINT_ALIAS = "endpoint.{}"
MAX_ROUTES = 20
_NAME = re.compile(r"[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?")


def check_endpoint_name(value: Any) -> str:
    """The name of an endpoint: the label of a host name, so that it can be one."""
    name = check_text("The name of an endpoint", value)
    if not _NAME.fullmatch(name):
        raise InvalidNameError(
            f"Invalid name {name[:70]!r} of an endpoint: use 1 to 63 lower-case letters, digits and dashes (-), "
            "the first and the last no dash."
        )
    return name


def checked_routes(routes: Sequence[Route]) -> list[Route]:
    """Routes that can be, whose weights make 100.

    Raises:
        InvalidInputError: they cannot; the message names the route.
    """
    checked = [_checked(route) for route in routes]
    uris = [route.uri for route in checked]
    if len(checked) > MAX_ROUTES:
        raise InvalidInputError(f"An endpoint has at most {MAX_ROUTES} routes, got {len(checked)}.")
    if twice := next((uri for uri in uris if uris.count(uri) > 1), None):
        raise InvalidInputError(f"{twice} is routed to twice; give it one route with the whole weight.")
    total = math.fsum(route.weight for route in checked)
    if abs(total - 100) > 1e-6:  # noqa: PLR2004  percent
        raise InvalidInputError(
            f"The weights of an endpoint's routes are percent and make 100 together, got {total:g}. "
            "A route that answers nobody is a shadow, or has the weight 0."
        )
    return checked


def _checked(route: Route) -> Route:
    check_model_name(route.name)
    if (route.version is None) == (route.alias is None):
        raise InvalidInputError(f"A route to {route.name!r} needs a version or an alias: one of the two.")
    if route.alias is None:
        check_version(route.version)
    else:
        check_alias(route.alias)
    weight = route.weight
    if type(weight) not in (int, float) or not 0 <= weight <= 100:  # noqa: PLR2004  percent; NaN is not between
        raise InvalidInputError(f"The weight of the route to {route.uri} must be a percentage, got {weight!r}.")
    if route.shadow not in (True, False) or (route.shadow and weight):
        raise InvalidInputError(f"The route to {route.uri} is a shadow, which answers nobody: its weight is 0.")
    return Route(route.name, route.version, route.alias, float(weight), bool(route.shadow))


def routes_text(routes: Iterable[Route]) -> str:
    """Routes as they are kept."""
    return canonical("The routes", [asdict(route) for route in routes])


def admitted(
    connection: Connection,
    endpoint: str,
    routes: Sequence[Route],
    bound: Iterable[str],
    answered: Callable[[Connection, str], set[str]],
) -> list[str]:
    """The protected aliases whose approvals count for an endpoint with these routes, which are admitted by them.

    Args:
        connection: of the transaction that puts the routes in force.
        endpoint: its name.
        routes: checked ones.
        bound: the aliases whose approvals counted so far, as "churn@champion".
        answered: gives the URIs of the routes that ever answered for an endpoint: these may again, so that what was in
            force before a policy stays, and a rollback finds its way.

    Raises:
        NotFoundError: a version or an alias is not there.
        InactiveError: the files of a version are being removed for good.
        ProtectedError: a version was not approved, or an alias is not protected where approvals count.
        TamperedError: a version seems to be approved, and the audit log does not say it.
    """
    found = in_force(connection)
    for route in routes:
        at = route.version if route.alias is None else existing_alias(connection, route.name, route.alias).version
        row = find_version(connection, route.name, check_version(at))
        if going := being_removed(connection, [row.source, row.run_id, row.model_id, row.location]):
            raise InactiveError(
                f"{route.uri} cannot be routed to: its files go, since {going} is being removed for good."
            )
    ours = {f"{r.name}@{r.alias}" for r in routes if r.alias and protecting_alias(found, r.name, r.alias)}
    bound = sorted(ours.union(bound))
    for route in routes:
        guards = _guards(found, endpoint, route.name, bound) if route.weight else []
        refusal = _refusal(connection, endpoint, route, guards, found) if guards else ""
        if refusal and route.uri not in answered(connection, endpoint):
            raise ProtectedError(refusal)
    return bound


def _guards(found: Sequence[Policy], endpoint: str, name: str, bound: Sequence[str]) -> list[str]:
    """The aliases of a model that are protected now and whose approvals count for an endpoint."""
    known = [alias for model, _, alias in (each.rpartition("@") for each in bound) if model == name]
    return [alias for alias in (*known, ENDPOINT_ALIAS.format(endpoint)) if protecting_alias(found, name, alias)]


def _refusal(connection: Connection, endpoint: str, route: Route, guards: list[str], found: Sequence[Policy]) -> str:
    """Why a route may not answer, "" when it may."""
    if route.alias is not None:
        if protecting_alias(found, route.name, route.alias):
            refuse_unmoved(connection, route.name, existing_alias(connection, route.name, route.alias))
            return ""
        return (
            f"The endpoint {endpoint!r} answers with approved versions of {route.name!r} alone, and no policy protects "
            f"the alias '{route.alias}': route to a version, or to the alias '{guards[0]}'."
        )
    if any(_approved(connection, route, guard) for guard in guards):
        return ""
    ask = f"prefect-ml promote {quote(route.name)} {route.version} --alias {quote(guards[0])}"
    return (
        f"Version {route.version} of {route.name!r} was not approved for the endpoint {endpoint!r}, which a policy "
        f"protects by the alias '{guards[0]}'. Deploy it by the flow, which asks: prefect-ml endpoints deploy "
        f"{quote(endpoint)} {quote(route.uri)}; or ask by: {ask}"
    )


def _approved(connection: Connection, route: Route, alias: str) -> bool:
    """Whether a version is at an alias, was promoted to it, or is approved and may be promoted still.

    Raises:
        TamperedError: so it seems, and the audit log does not say it.
    """
    row = find_version(connection, route.name, check_version(route.version))
    current = current_alias(connection, row.model, alias)
    if current is not None and current.version == route.version:
        refuse_unmoved(connection, route.name, current)
        return True
    asked = promotion_requests.c
    mine = (asked.name == route.name) & (asked.version == route.version) & (asked.alias == alias)
    mine &= asked.artifact_digest == row.artifact_digest
    open_still = (asked.status == RequestStatus.APPROVED) & (asked.expires_at > now())
    query = select(promotion_requests).where(mine, (asked.status == RequestStatus.PROMOTED) | open_still)
    request = connection.execute(query.order_by(asked.id.desc()).limit(1)).first()
    if request is None:
        return False
    refuse_unproven(connection, request, RequestStatus(request.status))
    return request.status == RequestStatus.PROMOTED or not too_old(connection, request, now())
