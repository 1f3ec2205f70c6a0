"""Experiments: created, renamed, tagged, deleted and restored together with their runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from prefect_ml.entities import Experiment, LifecycleStage
from prefect_ml.errors import AlreadyExistsError, InactiveError, NotFoundError
from prefect_ml.store import names
from prefect_ml.store.locations import check_location
from prefect_ml.store.logged_model_tables import logged_models
from prefect_ml.store.rows import Rows, now
from prefect_ml.store.statements import upsert
from prefect_ml.store.tables import experiment_tags, experiments, runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


DEFAULT = "0"

# Within the number of parameters that both databases take.
_CHUNK = 10_000
# In the order of their keys: without one, each plan of a database may have its own.
_TAGS = select(experiment_tags).order_by(experiment_tags.c.experiment, experiment_tags.c.key)

_EXPERIMENT_ID = re.compile(r"[0-9]{1,18}")


class ExperimentRows(Rows):
    def create_experiment(
        self, name: str, tags: Mapping[str, str] | None = None, artifact_location: str | None = None
    ) -> str:
        names.check_experiment_name(name)
        checked = names.check_tags(tags or {}, names.MAX_EXPERIMENT_TAG_VALUE)
        location = check_location(artifact_location) if artifact_location else ""

        def work(connection: Connection) -> int:
            number = insert_experiment(connection, name, self.artifact_root, location)
            _set_tags(connection, number, checked)
            return number

        try:
            return str(self.database.write(work))
        except IntegrityError as error:
            raise _taken(name) from error

    def get_experiment(self, experiment_id: str) -> Experiment:
        with self.database.read() as connection:
            return load_experiments(connection, [find_experiment(connection, experiment_id)], self.artifact_root)[0]

    def get_experiment_by_name(self, name: str) -> Experiment:
        with self.database.read() as connection:
            row = connection.execute(select(experiments).where(experiments.c.name == name)).first()
            if row is None:
                raise NotFoundError(f"There is no experiment named {name!r}; create it first.")
            return load_experiments(connection, [row], self.artifact_root)[0]

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        names.check_experiment_name(name)

        def work(connection: Connection) -> None:
            number = active_experiment(connection, experiment_id).id
            _change(connection, number, name=name)

        try:
            self.database.write(work)
        except IntegrityError as error:
            raise _taken(name) from error

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        checked = names.check_tags({key: value}, names.MAX_EXPERIMENT_TAG_VALUE)

        def work(connection: Connection) -> None:
            number = active_experiment(connection, experiment_id).id
            _set_tags(connection, number, checked)
            _change(connection, number)

        self.database.write(work)

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        names.check_key("tag", key)

        def work(connection: Connection) -> None:
            number = active_experiment(connection, experiment_id).id
            of = experiment_tags.c
            gone = delete(experiment_tags).where(of.experiment == number, of.key == key)
            if connection.execute(gone).rowcount == 0:
                raise NotFoundError(f"No tag with name: {key} in experiment with id {experiment_id}.")
            _change(connection, number)

        self.database.write(work)

    def delete_experiment(self, experiment_id: str) -> None:
        self._set_stage(experiment_id, LifecycleStage.DELETED)

    def restore_experiment(self, experiment_id: str) -> None:
        self._set_stage(experiment_id, LifecycleStage.ACTIVE)

    def _set_stage(self, experiment_id: str, stage: LifecycleStage) -> None:
        def work(connection: Connection) -> None:
            _set_stage(connection, find_experiment(connection, experiment_id, lock=True).id, stage)

        self.database.write(work)


def insert_experiment(connection: Connection, name: str, artifact_root: str, location: str = "") -> int:
    """Add an active experiment and return its number; `IntegrityError` when another transaction takes the name now.

    Its artifacts are at a checked location, or below the root.
    """
    if connection.execute(select(experiments.c.id).where(experiments.c.name == name)).first():
        raise _taken(name)
    values = _new(name) | {"artifact_location": location}
    (number,) = connection.execute(insert(experiments).values(values)).inserted_primary_key or (0,)
    if not location:
        _locate(connection, number, artifact_root)
    return int(number)


def ensure_experiment(connection: Connection, name: str, artifact_root: str) -> Row[Any]:
    """The row of the experiment of that name, created or restored where needed."""
    query = select(experiments).where(experiments.c.name == name)
    row = connection.execute(query).first()
    if row is None:
        # Another transaction may add it now; then it is waited for, and its row is taken.
        connection.execute(upsert(connection, experiments, ["name"], []).values(_new(name)))
        row = connection.execute(query).one()
        if not row.artifact_location:
            _locate(connection, row.id, artifact_root)
            row = connection.execute(query).one()
    if row.lifecycle_stage != LifecycleStage.ACTIVE:
        _set_stage(connection, row.id, LifecycleStage.ACTIVE)
        row = connection.execute(query).one()
    return row


def find_experiment(connection: Connection, experiment_id: str, *, lock: bool = False) -> Row[Any]:
    """The row of an experiment, deleted or not; `lock` keeps it unchanged until the transaction ends."""
    numbers = experiment_numbers([experiment_id])
    query = select(experiments).where(experiments.c.id.in_(numbers))
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFoundError(f"No Experiment with id={experiment_id} exists.")
    return row


def active_experiment(connection: Connection, experiment_id: str) -> Row[Any]:
    """The row of an experiment that may be changed, locked."""
    row = find_experiment(connection, experiment_id, lock=True)
    if row.lifecycle_stage != LifecycleStage.ACTIVE:
        raise InactiveError(
            f"The experiment {experiment_id} must be in the 'active' state. Current state is "
            f"{row.lifecycle_stage}. Restore it first."
        )
    return row


def load_experiments(connection: Connection, rows: Sequence[Row[Any]], artifact_root: str) -> list[Experiment]:
    """The experiments of rows of the table, in their order."""
    tags: dict[int, dict[str, str]] = {row.id: {} for row in rows}
    numbers = list(tags)
    for first in range(0, len(numbers), _CHUNK):
        wanted = experiment_tags.c.experiment.in_(numbers[first : first + _CHUNK])
        for number, key, value in connection.execute(_TAGS.where(wanted)):
            tags[number][key] = value
    return [_experiment(row, artifact_root, tags[row.id]) for row in rows]


def _experiment(row: Row[Any], artifact_root: str, tags: Mapping[str, str]) -> Experiment:
    return Experiment(
        experiment_id=str(row.id),
        name=row.name,
        artifact_location=artifact_location(row, artifact_root),
        lifecycle_stage=LifecycleStage(row.lifecycle_stage),
        creation_time=row.creation_time,
        last_update_time=row.last_update_time,
        tags=tags,
    )


def artifact_location(row: Row[Any], artifact_root: str) -> str:
    """Where an experiment keeps its artifacts; the default one's place is not stored, but follows the root."""
    return row.artifact_location or f"{artifact_root}/{row.id}"


def experiment_numbers(experiment_ids: Iterable[str]) -> list[int]:
    """The numbers that ids stand for; an id that never was one has none."""
    return [int(given) for given in experiment_ids if _EXPERIMENT_ID.fullmatch(given)]


def _new(name: str) -> dict[str, Any]:
    at = now()
    values = {"name": name, "artifact_location": "", "lifecycle_stage": LifecycleStage.ACTIVE}
    return values | {"creation_time": at, "last_update_time": at}


def _locate(connection: Connection, number: int, artifact_root: str) -> None:
    """Give a new experiment the place of its artifacts, which its number is part of."""
    statement = update(experiments).where(experiments.c.id == number)
    connection.execute(statement.values(artifact_location=f"{artifact_root}/{number}"))


def _set_stage(connection: Connection, number: int, stage: LifecycleStage) -> None:
    """Delete or restore an experiment with what is in it, but for what is being removed."""
    if stage == LifecycleStage.ACTIVE:
        _change(connection, number, lifecycle_stage=stage, deletion_time=None, removal_time=None)
        mine = update(runs).where(runs.c.experiment == number, runs.c.removal_time.is_(None))
        connection.execute(mine.values(lifecycle_stage=stage, deletion_time=None))
        # These were deleted with the experiment alone, and would be there again with half their files.
        going = (logged_models.c.experiment == number) & logged_models.c.removal_time.is_not(None)
        connection.execute(update(logged_models).where(going).values(lifecycle_stage=LifecycleStage.DELETED))
        return
    at = now()
    _change(connection, number, lifecycle_stage=stage, deletion_time=func.coalesce(experiments.c.deletion_time, at))
    mine = update(runs).where(runs.c.experiment == number)
    since = func.coalesce(runs.c.deletion_time, at)
    connection.execute(mine.values(lifecycle_stage=stage, deletion_time=since))


def _set_tags(connection: Connection, number: int, tags: Mapping[str, str]) -> None:
    rows = [{"experiment": number, "key": key, "value": value} for key, value in tags.items()]
    if rows:
        connection.execute(upsert(connection, experiment_tags, ["experiment", "key"], ["value"]), rows)


def _change(connection: Connection, number: int, **values: Any) -> None:
    """Change columns of an experiment, and note when."""
    statement = update(experiments).where(experiments.c.id == bindparam("number"))
    connection.execute(statement.values(last_update_time=now(), **values), {"number": number})


def _taken(name: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"Experiment(name={name}) already exists. Use it, restore it if it was deleted, or take another name."
    )
