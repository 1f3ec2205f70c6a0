"""Endpoints as rows: each change is a revision, put in force only in the place of the one that was expected."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, select

from prefect_ml.entities import Endpoint, EndpointAction
from prefect_ml.entities.endpoints import ENDPOINT_URI
from prefect_ml.errors import AlreadyExistsError, InvalidInputError, NotFoundError, StaleRevisionError
from prefect_ml.store.audit import record
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.endpoint_routes import admitted, check_endpoint_name, checked_routes, routes_text
from prefect_ml.store.endpoint_tables import endpoint_revisions
from prefect_ml.store.names import check_text
from prefect_ml.store.origin import here
from prefect_ml.store.paging import check_page_size
from prefect_ml.store.registry_names import check_generation, check_version, check_words, is_text
from prefect_ml.store.registry_rows import RegistryRows
from prefect_ml.store.routed import in_force, read_routes, weights_of
from prefect_ml.store.rows import now

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sqlalchemy import Row

    from prefect_ml.entities import Route

_MAX_ROLLOUT = 200
_MOST_REVISIONS = 1000


class EndpointRows(RegistryRows):
    def create_endpoint(self, name: str, routes: Sequence[Route], *, actor: str = "", reason: str = "") -> Endpoint:
        check_endpoint_name(name)
        wanted = checked_routes(routes)
        _check_words(actor, reason)

        def work(connection: Connection) -> Endpoint:
            last = _newest(connection, name)
            if last is not None and last.action != EndpointAction.DELETED:
                raise AlreadyExistsError(
                    f"There is an endpoint {name!r} already, at revision {last.revision}; change it, or take another "
                    "name."
                )
            bound = admitted(connection, name, wanted, (), _answered)
            return _put(connection, name, last, wanted, bound, EndpointAction.CREATED, actor, reason)

        return self.change(work)

    def change_endpoint(
        self,
        name: str,
        routes: Sequence[Route],
        *,
        expected_revision: int,
        actor: str = "",
        reason: str = "",
        rollout: str = "",
        step: int = 0,
    ) -> Endpoint:
        wanted = checked_routes(routes)
        _check_words(actor, reason)
        _check_step(expected_revision, rollout, step)

        def work(connection: Connection) -> Endpoint:
            last = _existing(connection, name)
            if rollout and (last.rollout, last.step) == (rollout, step):
                return _endpoint(last)
            _need(last, expected_revision)
            bound = admitted(connection, name, wanted, json.loads(last.bound), _answered)
            return _put(connection, name, last, wanted, bound, EndpointAction.CHANGED, actor, reason, rollout, step)

        return self.change(work)

    def roll_back_endpoint(
        self,
        name: str,
        *,
        to_revision: int,
        expected_revision: int,
        actor: str = "",
        reason: str = "",
        rollout: str = "",
        step: int = 0,
    ) -> Endpoint:
        check_version(to_revision)
        check_words("The reason of a rollback", reason, needed=True)
        _check_words(actor, reason)
        _check_step(expected_revision, rollout, step)

        def work(connection: Connection) -> Endpoint:
            last = _existing(connection, name)
            if rollout and (last.rollout, last.step, last.action) == (rollout, step, EndpointAction.ROLLED_BACK):
                return _endpoint(last)
            _need(last, expected_revision)
            revisions = endpoint_revisions.c
            query = select(endpoint_revisions).where(revisions.name == name, revisions.revision == to_revision)
            before = connection.execute(query).first()
            if before is None or before.action == EndpointAction.DELETED or to_revision >= last.revision:
                raise InvalidInputError(
                    f"The endpoint {name!r} is at revision {last.revision} and cannot go back to {to_revision}; see "
                    f"what there is with: prefect-ml endpoints show {name}"
                )
            routes = read_routes(before.routes)
            bound = admitted(connection, name, routes, json.loads(last.bound), _answered)
            back = EndpointAction.ROLLED_BACK
            return _put(connection, name, last, routes, bound, back, actor, reason, rollout, step, to_revision)

        return self.change(work)

    def delete_endpoint(self, name: str, *, actor: str = "", reason: str = "") -> None:
        _check_words(actor, reason)

        def work(connection: Connection) -> None:
            last = _existing(connection, name)
            _put(connection, name, last, (), [], EndpointAction.DELETED, actor, reason)

        self.change(work)

    def get_endpoint(self, name: str) -> Endpoint:
        with self.database.read() as connection:
            return _endpoint(_existing(connection, name))

    def list_endpoints(self) -> Sequence[Endpoint]:
        with self.database.read() as connection:
            return [_endpoint(row) for row in connection.execute(in_force())]

    def list_endpoint_revisions(
        self, name: str, *, max_results: int = 100, before: int | None = None, rollout: str | None = None
    ) -> Sequence[Endpoint]:
        revisions = endpoint_revisions.c
        query = select(endpoint_revisions).where(revisions.name == check_text("The name of an endpoint", name))
        if before is not None:
            query = query.where(revisions.revision < check_generation(before, "before"))
        if rollout is not None:
            query = query.where(revisions.rollout == check_text("The name of a rollout", rollout))
        query = query.order_by(revisions.revision.desc()).limit(check_page_size(max_results, _MOST_REVISIONS))
        with self.database.read() as connection:
            return [_endpoint(row) for row in connection.execute(query)]


def _check_words(actor: str, reason: str) -> None:
    check_words("The actor", actor)
    check_words("The reason", reason)


def _check_step(expected: int, rollout: str, step: int) -> None:
    check_generation(expected, "expected_revision")
    check_words("The name of a rollout", rollout, _MAX_ROLLOUT)
    check_generation(step, "step")


def _newest(connection: Connection, name: str) -> Row[Any] | None:
    """The row of the last revision of a name, deleted or not."""
    revisions = endpoint_revisions.c
    query = select(endpoint_revisions).where(revisions.name == name).order_by(revisions.revision.desc()).limit(1)
    return connection.execute(query).first() if is_text(name) else None


def _existing(connection: Connection, name: str) -> Row[Any]:
    row = _newest(connection, name)
    if row is None or row.action == EndpointAction.DELETED:
        raise NotFoundError(f"There is no endpoint {name!r}; see them with: prefect-ml endpoints list")
    return row


def _answered(connection: Connection, name: str) -> set[str]:
    """The URIs of the routes that had a weight since an endpoint was created, in the last 1,000 revisions."""
    revisions = endpoint_revisions.c
    query = select(revisions.action, revisions.routes).where(revisions.name == name)
    found: set[str] = set()
    for action, routes in connection.execute(query.order_by(revisions.revision.desc()).limit(_MOST_REVISIONS)):
        if action == EndpointAction.DELETED:
            break
        found.update(route.uri for route in read_routes(routes) if route.weight)
    return found


def _need(last: Row[Any], expected: int) -> None:
    if last.revision != expected:
        raise StaleRevisionError(
            f"The endpoint {last.name!r} is at revision {last.revision} by now, by {last.changed_by or 'somebody'} "
            f"({last.reason or 'no reason given'}), not at {expected}: look at it, and decide anew."
        )


def _put(  # noqa: PLR0917  the columns
    connection: Connection,
    name: str,
    last: Row[Any] | None,
    routes: Sequence[Route],
    bound: list[str],
    action: EndpointAction,
    actor: str,
    reason: str,
    rollout: str = "",
    step: int = 0,
    to_revision: int | None = None,
) -> Endpoint:
    """The next revision, with its row of the audit log."""
    values = {
        "name": name,
        "revision": last.revision + 1 if last else 1,
        "routes": routes_text(routes),
        "action": action,
        "changed_at": now(),
        "changed_by": actor or here().who,
        "reason": reason,
        "rollout": rollout,
        "step": step,
        "bound": canonical("The aliases", bound),
    }
    row = connection.execute(insert(endpoint_revisions).values(values).returning(endpoint_revisions)).one()
    after = {"revision": row.revision, "routes": weights_of(routes), "changed_at": row.changed_at, "bound": bound}
    after |= {"digest": digest(row.routes)}
    besides = {"rollout": rollout or None, "step": step if rollout or step else None, "to_revision": to_revision}
    record(
        connection,
        f"endpoint-{action}",
        f"{ENDPOINT_URI}{name}",
        actor=row.changed_by,
        reason=reason,
        before={"revision": last.revision, "routes": weights_of(read_routes(last.routes))} if last else {},
        after=after | {key: value for key, value in besides.items() if value is not None},
    )
    return _endpoint(row)


def _endpoint(row: Row[Any]) -> Endpoint:
    return Endpoint(
        name=row.name,
        revision=row.revision,
        routes=read_routes(row.routes),
        action=EndpointAction(row.action),
        changed_at=row.changed_at,
        changed_by=row.changed_by,
        reason=row.reason,
        rollout=row.rollout,
        step=row.step,
        bound=tuple(json.loads(row.bound)),
    )
