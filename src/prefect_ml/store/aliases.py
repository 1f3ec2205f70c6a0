"""Aliases: where they point, every move they made, and the one way in which they move."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Row, and_, bindparam, delete, exists, func, insert, select, update

from prefect_ml.entities import Alias, AliasMove
from prefect_ml.errors import NotFoundError
from prefect_ml.store.audit import APPENDED, AuditHead, record
from prefect_ml.store.canonical import canonical
from prefect_ml.store.names import check_text
from prefect_ml.store.origin import here
from prefect_ml.store.policies import refuse_protected
from prefect_ml.store.registry_names import check_alias, check_version, check_words, is_text
from prefect_ml.store.registry_rows import RegistryRows, find_model, find_version, touch_model
from prefect_ml.store.registry_tables import alias_moves, aliases, audit_head, model_versions, registered_models
from prefect_ml.store.requests import alias_subject
from prefect_ml.store.routed import refuse_routed
from prefect_ml.store.rows import now
from prefect_ml.store.statements import Together, values_of
from prefect_ml.store.webhook_outbox import ANYBODY, alias_changed

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
# How an alias stands, asked in one way to the database and back.
_STANDING = (
    select(
        registered_models.c.id.label("of"),
        _HIGHEST.scalar_subquery().label("highest"),
        audit_head.c.sequence.label("head_sequence"),
        audit_head.c.hash.label("head_hash"),
        ANYBODY.label("anybody"),
        aliases,
    )
    .select_from(
        registered_models.join(audit_head, audit_head.c.id == 1).outerjoin(
            aliases, and_(aliases.c.model == registered_models.c.id, aliases.c.alias == bindparam("alias"))
        )
    )
    .where(registered_models.c.name == bindparam("name"))
)
_STANDING_BEFORE_VERSION = _STANDING.where(
    exists().where(model_versions.c.model == registered_models.c.id, model_versions.c.version == bindparam("number"))
)
_MOVE = insert(alias_moves)
_HERE = and_(aliases.c.model == bindparam("alias_model"), aliases.c.alias == bindparam("alias_alias"))
_BESIDE: dict[str, Any] = {
    "move": _MOVE.values(values_of("move", alias_moves.c.keys())),
    "model": update(registered_models)
    .where(registered_models.c.id == bindparam("model_id"))
    .values(values_of("model", ["last_updated_timestamp"])),
    **APPENDED,
}
# A move of an alias that is not set, and of one that is.
_SET = Together(alias=insert(aliases).values(values_of("alias", aliases.c.keys())), **_BESIDE)
_MOVED = Together(alias=update(aliases).where(_HERE).values(values_of("alias", _VALUES)), **_BESIDE)


class AliasRows(RegistryRows):
    def set_alias(self, name: str, alias: str, version: int, *, actor: str = "", reason: str = "") -> Alias:
        """See `ModelStore.set_alias`; an alias that is there already stays as it is."""
        check_alias(alias)
        check_words("The actor", actor)
        check_words("The reason", reason)

        def work(connection: Connection) -> Alias:
            standing = _standing_before(connection, name, alias, version)
            refuse_protected(connection, name, version, alias=[alias])
            if standing.current is not None and standing.current.version == version:
                return _alias(name, standing.current)
            return move_alias(
                connection, name, standing.model, alias, version,
                action="alias-set", actor=actor, reason=reason, standing=standing,
            )  # fmt: skip

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
                refuse_routed(connection, name, f"delete the alias '{alias}' of {name!r}", alias=[alias])
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


class Standing(NamedTuple):
    """How an alias stands before it moves.

    Attributes:
        model: the number of its model.
        current: its row; None when it is not set.
        generation: the highest that this name and alias ever had, also before it was deleted.
        head: the end of the audit log.
        anybody: whether there are webhooks.
    """

    model: int
    current: Row[Any] | None
    generation: int
    head: AuditHead
    anybody: bool


def standing_of(connection: Connection, name: str, alias: str) -> Standing:
    """How an alias of a model that is there stands."""
    return _standing(connection.execute(_STANDING, {"name": name, "alias": alias}).one())


def _standing_before(connection: Connection, name: str, alias: str, version: int) -> Standing:
    """The same, where it is to be moved to a version; `NotFoundError` when there is no such version."""
    asked = {"name": name, "alias": alias, "number": check_version(version)}
    row = connection.execute(_STANDING_BEFORE_VERSION, asked).first() if is_text(name) else None
    if row is None:
        find_version(connection, name, version)
        raise AssertionError("unreachable: a version that is there has a model")
    return _standing(row)


def _standing(row: Row[Any]) -> Standing:
    head = AuditHead(row.head_sequence, row.head_hash)
    return Standing(row.of, row if row.model is not None else None, row.highest or 0, head, row.anybody)


def move_alias(
    connection: Connection,
    name: str,
    model: int,
    alias: str,
    version: int,
    *,
    action: str,
    actor: str,
    reason: str,
    evidence_digest: str = "",
    request_id: str | None = None,
    key: str | None = None,
    stage: str | None = None,
    stages: Stages | None = None,
    standing: Standing | None = None,
) -> Alias:
    """Point an alias at a version: the next generation, the version before kept, its rows of history and audit log.

    Whoever calls it has made sure that the alias may move.

    Args:
        connection: of the transaction.
        name: of the model.
        model: its number.
        alias: that moves.
        version: where to.
        action: of the audit row.
        actor: who moves it.
        reason: why.
        evidence_digest: of what it rests on.
        request_id: of the promotion request that is carried out.
        key: names the move, so that it is made once.
        stage: that the version enters with it.
        stages: what the move changed besides.
        standing: how the alias stands, where that was asked in this transaction and nothing was written since.
    """
    _, current, generation, head, anybody = standing or standing_of(connection, name, alias)
    previous = None
    if current is not None:
        previous = current.previous_version if current.version == version else current.version
    values = {
        "version": version,
        "generation": generation + 1,
        "previous_version": previous,
        "moved_at": now(),
        "moved_by": actor or here().who,
        "request_id": request_id,
    }
    moved = Alias(name=name, alias=alias, **values)  # type: ignore[arg-type]  # the values are typed by their names
    besides = {"key": key, "stages": stages_text(stages)}
    if anybody:
        alias_changed(connection, model, name, alias, version)
    record(
        connection,
        action,
        alias_subject(name, alias),
        actor=moved.moved_by,
        reason=reason,
        before={} if current is None else {"version": current.version, "generation": current.generation},
        after=_told(moved, {"stage": stage, "stages": stages or None, "key": key}),
        evidence_digest=evidence_digest,
        head=head,
        together=_SET if current is None else _MOVED,
        beside={
            "alias": {"model": model, "alias": alias, **values},
            "move": {"name": name, "alias": alias, "reason": reason, **values, **besides},
            "model": {"id": model, "last_updated_timestamp": values["moved_at"]},
        },
    )
    return moved


def _told(moved: Alias, more: dict[str, Any]) -> dict[str, Any]:
    """What the audit row says of a move."""
    after = {
        "version": moved.version,
        "generation": moved.generation,
        "previous": moved.previous_version,
        "moved_at": moved.moved_at,
        "request": moved.request_id,
        **more,
    }
    return {key: value for key, value in after.items() if value is not None}


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
