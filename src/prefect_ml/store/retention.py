"""Retention: what was deleted long ago is found, marked, and removed row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, case, delete, exists, func, select, update

from prefect_ml.entities import LifecycleStage
from prefect_ml.store.audit import record
from prefect_ml.store.experiments import DEFAULT, artifact_location, experiment_numbers
from prefect_ml.store.held import Held
from prefect_ml.store.logged_model_tables import logged_models
from prefect_ml.store.names import check_text, check_time
from prefect_ml.store.registry_names import check_words
from prefect_ml.store.registry_rows import RegistryRows
from prefect_ml.store.retention_contract import Deleted, Kind
from prefect_ml.store.rows import now
from prefect_ml.store.tables import experiments, metadata, runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Row, Select

_TABLES: dict[Kind, tuple[Table, str, str]] = {
    Kind.RUN: (runs, "run_id", "runs:/{}"),
    Kind.LOGGED_MODEL: (logged_models, "model_id", "models:/{}"),
    Kind.EXPERIMENT: (experiments, "id", "experiments:/{}"),
}
# Within the number of parameters that both databases take.
_CHUNK = 10_000
# When something was deleted, as far as anybody noted.
_RUN_TIME = func.coalesce(runs.c.deletion_time, runs.c.end_time, runs.c.start_time)
_EXPERIMENT_TIME = func.coalesce(experiments.c.deletion_time, experiments.c.last_update_time)
_MODEL_TIME = case(
    (
        logged_models.c.lifecycle_stage == LifecycleStage.DELETED,
        func.coalesce(logged_models.c.deletion_time, logged_models.c.last_updated_timestamp),
    ),
    else_=_EXPERIMENT_TIME,
)
_MODEL_DELETED = (logged_models.c.lifecycle_stage == LifecycleStage.DELETED) | (
    experiments.c.lifecycle_stage == LifecycleStage.DELETED
)


class RetentionRows(RegistryRows):
    def list_deleted(self, before: int) -> Sequence[Deleted]:
        check_time("before", before)
        with self.database.read() as connection:
            held = Held(connection)
            return [
                *_deleted_runs(connection, held, before),
                *_deleted_models(connection, held, before),
                *self._deleted_experiments(connection, held, before),
            ]

    def begin_removal(self, kind: Kind, ids: Sequence[str], before: int, *, held: bool = False) -> Sequence[str]:
        table, column, _ = _TABLES[Kind(kind)]
        check_time("before", before)
        wanted = set(ids)

        def work(connection: Connection) -> Sequence[str]:
            _lock(connection, kind, sorted(_key(kind, each) for each in wanted))
            marked = [
                each.id
                for each in self._found(connection, kind, before)
                if each.id in wanted
                and not each.stays(held=held)
                and not (kind == Kind.EXPERIMENT and _left_in(connection, int(each.id)))
            ]
            for id in marked:  # noqa: A001  the field's word
                unmarked = (table.c[column] == _key(kind, id)) & table.c.removal_time.is_(None)
                connection.execute(update(table).where(unmarked).values(removal_time=now()))
            return marked

        return self.change(work)

    def remove(self, kind: Kind, id: str, reason: str) -> bool:
        table, column, subject = _TABLES[Kind(kind)]
        key = _key(kind, id)
        check_words("The reason", reason)

        def work(connection: Connection) -> bool:
            query = select(table).where(table.c[column] == key, table.c.removal_time.is_not(None))
            row = connection.execute(query.with_for_update()).first()
            if row is None or (kind == Kind.EXPERIMENT and _anything_in(connection, row.id)):
                return False
            _remove_rows(connection, table, table.c.id == row.id)
            before = {"name": row.name, "deleted": row.deletion_time, "artifacts": _place(row)}
            record(connection, "removed", subject.format(id), reason=reason, before=before)
            return True

        return self.change(work)

    def _found(self, connection: Connection, kind: Kind, before: int) -> Iterator[Deleted]:
        held = Held(connection)
        if kind == Kind.RUN:
            return _deleted_runs(connection, held, before)
        if kind == Kind.LOGGED_MODEL:
            return _deleted_models(connection, held, before)
        return self._deleted_experiments(connection, held, before)

    def _deleted_experiments(self, connection: Connection, held: Held, before: int) -> Iterator[Deleted]:
        deleted = experiments.c.lifecycle_stage == LifecycleStage.DELETED
        old = _old(experiments, _EXPERIMENT_TIME, before)
        query = select(experiments, _EXPERIMENT_TIME.label("at")).where(deleted, old, experiments.c.id != int(DEFAULT))
        for row in connection.execute(query.order_by(experiments.c.id)):
            place = artifact_location(row, self.artifact_root)
            needed = held.experiment(connection, row.id)
            yield Deleted(Kind.EXPERIMENT, str(row.id), row.name, str(row.id), place, row.at, needed)


def _deleted_runs(connection: Connection, held: Held, before: int) -> Iterator[Deleted]:
    deleted = runs.c.lifecycle_stage == LifecycleStage.DELETED
    query: Select[Any] = select(runs, _RUN_TIME.label("at")).where(deleted, _old(runs, _RUN_TIME, before))
    for row in connection.execute(query.order_by(runs.c.id)):
        needed = held.run(row.run_id)
        yield Deleted(Kind.RUN, row.run_id, row.name, str(row.experiment), row.artifact_uri, row.at, needed)


def _deleted_models(connection: Connection, held: Held, before: int) -> Iterator[Deleted]:
    joined = logged_models.c.experiment == experiments.c.id
    query: Select[Any] = select(logged_models, _MODEL_TIME.label("at")).join_from(logged_models, experiments, joined)
    query = query.where(_MODEL_DELETED, _old(logged_models, _MODEL_TIME, before)).order_by(logged_models.c.id)
    for row in connection.execute(query):
        needed = held.logged_model(row.model_id)
        place = row.artifact_uri
        yield Deleted(Kind.LOGGED_MODEL, row.model_id, row.name, str(row.experiment), place, row.at, needed)


def _old(table: Table, at: ColumnElement[int], before: int) -> ColumnElement[bool]:
    return (at <= before) | table.c.removal_time.is_not(None)


def _key(kind: Kind, id: str) -> str | int:
    if kind != Kind.EXPERIMENT:
        return check_text("An id", id)
    return next(iter(experiment_numbers([id])), -1)


def _lock(connection: Connection, kind: Kind, keys: Sequence[Any]) -> None:
    """Keep from being restored, until the transaction ends, what is looked at next."""
    table, column, _ = _TABLES[Kind(kind)]
    for first in range(0, len(keys), _CHUNK):
        chosen = table.c[column].in_(keys[first : first + _CHUNK])
        if kind == Kind.LOGGED_MODEL:  # restored with their experiments
            theirs = experiments.c.id.in_(select(logged_models.c.experiment).where(chosen))
            connection.execute(select(experiments.c.id).where(theirs).order_by(experiments.c.id).with_for_update())
        connection.execute(select(table.c.id).where(chosen).order_by(table.c.id).with_for_update())


def _left_in(connection: Connection, experiment: int) -> bool:
    """Whether an experiment holds what is not being removed."""
    kept = [
        exists().where(table.c.experiment == experiment, table.c.removal_time.is_(None))
        for table in (runs, logged_models)
    ]
    return bool(connection.execute(select(kept[0] | kept[1])).scalar())


def _anything_in(connection: Connection, experiment: int) -> bool:
    there = [exists().where(table.c.experiment == experiment) for table in (runs, logged_models)]
    return bool(connection.execute(select(there[0] | there[1])).scalar())


def _remove_rows(connection: Connection, table: Table, chosen: ColumnElement[bool]) -> None:
    """Delete rows with all rows that refer to them."""
    for other in metadata.sorted_tables:
        for column in other.c:
            for key in column.foreign_keys:
                if key.column.table is table and other is not table:
                    referred = select(key.column).where(chosen).scalar_subquery()
                    _remove_rows(connection, other, column.in_(referred))
    connection.execute(delete(table).where(chosen))


def _place(row: Row[Any]) -> str:
    return str(getattr(row, "artifact_uri", None) or getattr(row, "artifact_location", None) or "")
