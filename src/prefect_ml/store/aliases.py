"""Aliases: where they point, every move they made, and the one way in which they move."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select

from prefect_ml.entities import Alias, AliasMove
from prefect_ml.errors import NotFoundError
from prefect_ml.store.audit import record
from prefect_ml.store.canonical import canonical
from prefect_ml.store.names import check_text
from prefect_ml.store.origin import here
from prefect_ml.store.policies import refuse_protected
from prefect_ml.store.registry_names import check_alias, check_words, is_text
from prefect_ml.store.registry_rows import RegistryRows, find_model, find_version, touch_model
from prefect_ml.store.registry_tables import alias_moves, aliases, registered_models
from prefect_ml.store.requests import alias_subject
from prefect_ml.store.rows import now
from prefect_ml.store.statements import upsert
from prefect_ml.store.webhook_outbox import alias_changed

if TYPE_CHECKING:
    from collections.abc import Sequence

# The stages that a move changed: each version's before and after it.
Stages = dict[str, list[str]]

_VALUES = ["version", "generation", "previous_version", "moved_at", "moved_by", "request_id"]
# Made once: to make a statement costs as much as to execute it.
_CURRENT = select(aliases).where(aliases.c.model == bindparam("key"), aliases.c.alias == bindparam("alias"))
_NAMED = (
    select(aliases)
    .join_from(registered_models, aliases, registered_models.c.id == aliases.c.model)
    .where(registered_models.c.name == bindparam("name"), aliases.c.alias == bindparam("alias"))
)
_HIGHEST = select(func.max(alias_moves.c.generation)).where(
    alias_moves.c.name == bindparam("name"), alias_moves.c.alias == bindparam("alias")
)
_MOVE = insert(alias_moves)


class AliasRows(RegistryRows):
    def set_alias(self, name: str, alias: str, version: int, *, actor: str = "", reason: str = "") -> Alias:
        """See `ModelStore.set_alias`; an alias that is there already stays as it is."""
        check_alias(alias)
        check_words("The actor", actor)
        check_words("The reason", reason)

        def work(connection: Connection) -> Alias:
            found = find_version(connection, name, version)
            refuse_protected(connection, name, version, alias=[alias])
            current = current_alias(connection, found.model, alias)
            if current is not None and current.version == version:
                return _alias(name, current)
            moved = move_alias(connection, name, found.model, alias, version, actor=actor, reason=reason)
            record_move(connection, "alias-set", current, moved, reason=reason)
            return moved

        return self.change(work)

    def delete_alias(self, name: str, alias: str, *, actor: str = "", reason: str = "") -> None:
        """Remove an unprotected alias; one that is not there is no error."""
        check_text("The name of an alias", alias)
        check_words("The actor", actor)
        check_words("The reason", reason)

        def work(connection: Connection) -> None:
            model = find_model(connection, name)
            current = current_alias(connection, model.id, alias)
            if current is not None:
                refuse_protected(connection, name, None, alias=[alias])
                drop_alias(connection, name, current, actor=actor, reason=reason)

        self.change(work)

    def get_alias(self, name: str, alias: str) -> Alias:
        check_text("The name of an alias", alias)
        with self.database.read() as connection:
            return _alias(name, existing_alias(connection, name, alias))

    def alias_history(self, name: str, alias: str) -> Sequence[AliasMove]:
        with self.database.read() as connection:
            query = _moves(name, alias).order_by(alias_moves.c.generation)
            return [AliasMove(*row) for row in connection.execute(query)]

    def alias_at(self, name: str, alias: str, at: int) -> AliasMove | None:
        query = _moves(name, alias).where(alias_moves.c.moved_at <= at)
        with self.database.read() as connection:
            row = connection.execute(query.order_by(alias_moves.c.generation.desc()).limit(1)).first()
        return AliasMove(*row) if row is not None and row.version is not None else None


def current_alias(connection: Connection, model: int, alias: str) -> Row[Any] | None:
    """The row of an alias, if it is set."""
    return connection.execute(_CURRENT, {"key": model, "alias": alias}).first()


def existing_alias(connection: Connection, name: str, alias: str) -> Row[Any]:
    """The row of an alias that is set."""
    row = connection.execute(_NAMED, {"name": name, "alias": alias}).first() if is_text(name) else None
    if row is None:
        find_model(connection, name)
        raise NotFoundError(
            f"Registered model alias {alias} not found. See those of the model with: prefect-ml models show {name}"
        )
    return row


def aliases_on(connection: Connection, model: int, version: int | None = None) -> list[Row[Any]]:
    """The aliases of a model, or those on one version, by name."""
    query = select(aliases).where(aliases.c.model == model)
    if version is not None:
        query = query.where(aliases.c.version == version)
    return list(connection.execute(query.order_by(aliases.c.alias)))


def move_alias(
    connection: Connection,
    name: str,
    model: int,
    alias: str,
    version: int,
    *,
    actor: str,
    reason: str,
    request_id: str | None = None,
    key: str | None = None,
    stages: Stages | None = None,
) -> Alias:
    """Point an alias at a version: the next generation, the version before kept, one row of history.

    Whoever calls it has made sure that the alias may move, and writes the audit row.

    Args:
        connection: of the transaction.
        name: of the model.
        model: its number.
        alias: that moves.
        version: where to.
        actor: who moves it.
        reason: why.
        request_id: of the promotion request that is carried out.
        key: names the move, so that it is made once.
        stages: what the move changed besides.
    """
    current = current_alias(connection, model, alias)
    previous = None
    if current is not None:
        previous = current.previous_version if current.version == version else current.version
    values = {
        "version": version,
        "generation": _next_generation(connection, name, alias),
        "previous_version": previous,
        "moved_at": now(),
        "moved_by": actor or here().who,
        "request_id": request_id,
    }
    row = {"model": model, "alias": alias, **values}
    connection.execute(upsert(connection, aliases, ["model", "alias"], _VALUES).values(row))
    besides = {"key": key, "stages": stages_text(stages)}
    connection.execute(_MOVE, {"name": name, "alias": alias, "reason": reason, **values, **besides})
    touch_model(connection, model)
    alias_changed(connection, model, name, alias, version)
    return Alias(name=name, alias=alias, **values)  # type: ignore[arg-type]  # the values are typed by their names


def stages_text(stages: Stages | None) -> str | None:
    """The stages that a move changed, as they are kept with it."""
    return canonical("The stages", stages) if stages else None


def drop_alias(connection: Connection, name: str, row: Row[Any], *, actor: str, reason: str) -> None:
    """Remove an alias, with its row of history and of the audit log; protection is the caller's to mind."""
    connection.execute(delete(aliases).where(aliases.c.model == row.model, aliases.c.alias == row.alias))
    generation = _next_generation(connection, name, row.alias)
    who, at = actor or here().who, now()
    move = {"name": name, "alias": row.alias, "generation": generation, "reason": reason, "moved_by": who}
    move |= {"version": None, "previous_version": row.version, "moved_at": at, "request_id": None}
    connection.execute(_MOVE, move)
    touch_model(connection, row.model)
    alias_changed(connection, row.model, name, row.alias, None)
    before = {"version": row.version, "generation": row.generation}
    record(
        connection,
        "alias-deleted",
        alias_subject(name, row.alias),
        actor=who,
        reason=reason,
        before=before,
        after={"generation": generation, "previous": row.version, "moved_at": at},
    )


def record_move(
    connection: Connection,
    action: str,
    before: Row[Any] | None,
    moved: Alias,
    *,
    reason: str,
    evidence_digest: str = "",
    stage: str | None = None,
    stages: Stages | None = None,
    key: str | None = None,
) -> None:
    """The audit row of a move."""
    after = {
        "version": moved.version,
        "generation": moved.generation,
        "previous": moved.previous_version,
        "moved_at": moved.moved_at,
        "request": moved.request_id,
        "stage": stage,
        "stages": stages or None,
        "key": key,
    }
    record(
        connection,
        action,
        alias_subject(moved.name, moved.alias),
        actor=moved.moved_by,
        reason=reason,
        before={} if before is None else {"version": before.version, "generation": before.generation},
        after={key: value for key, value in after.items() if value is not None},
        evidence_digest=evidence_digest,
    )


def _next_generation(connection: Connection, name: str, alias: str) -> int:
    """One more than any that this name and alias ever had, also before it was deleted."""
    return (connection.execute(_HIGHEST, {"name": name, "alias": alias}).scalar() or 0) + 1


def _moves(name: str, alias: str) -> Any:
    check_text("The name of a registered model", name)
    check_text("The name of an alias", alias)
    told = (alias_moves.c[each.name] for each in fields(AliasMove))
    return select(*told).where(alias_moves.c.name == name, alias_moves.c.alias == alias)


def _alias(name: str, row: Row[Any]) -> Alias:
    values = {key: getattr(row, key) for key in ("alias", *_VALUES)}
    return Alias(name=name, **values)
