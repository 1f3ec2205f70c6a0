"""Runs: created, changed, logged to, deleted and restored."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Row, func, select, text, update

from prefect_ml.entities import LifecycleStage, Metric, ModelMetric, Run, RunStatus
from prefect_ml.errors import AlreadyExistsError, InactiveError, InvalidInputError, NotFoundError
from prefect_ml.store import names
from prefect_ml.store.driver import execute
from prefect_ml.store.experiments import active_experiment, artifact_location
from prefect_ml.store.load import load_runs
from prefect_ml.store.logged_model_names import check_model_metrics
from prefect_ml.store.logged_model_points import write_model_points
from prefect_ml.store.pairs import RUN_NAME_TAG, append_to_tag, conflict_error, remove_tag, write_params, write_tags
from prefect_ml.store.points import write_points
from prefect_ml.store.rows import Rows, now
from prefect_ml.store.run_names import made_up_name
from prefect_ml.store.statements import upsert
from prefect_ml.store.tables import runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What two writers must not do to a run at once waits here; on both databases, nothing changes by it.
_LOCK = text("UPDATE runs SET name = name WHERE id = :run")
_FIND = "SELECT id, lifecycle_stage FROM runs WHERE run_id = "


class RunRows(Rows):
    def create_run(
        self,
        experiment_id: str,
        *,
        run_id: str | None = None,
        name: str | None = None,
        user_id: str = "",
        start_time: int | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        checked = names.check_tags(tags or {})
        checked[RUN_NAME_TAG] = _agreed_name(name, checked.get(RUN_NAME_TAG))
        run_id = uuid.uuid4().hex if run_id is None else names.check_run_id(run_id)
        start_time = now() if start_time is None else names.check_time("start_time", start_time)
        names.check_text("user_id", user_id)

        def work(connection: Connection) -> Run:
            experiment = active_experiment(connection, experiment_id)
            number = insert_run(
                connection,
                run_id,
                experiment,
                self.artifact_root,
                name=checked[RUN_NAME_TAG],
                user_id=user_id,
                start_time=start_time,
            )
            if number is None:
                raise AlreadyExistsError(f"Run with id={run_id} already exists; use it or take another id.")
            write_tags(connection, number, checked)
            return _load_one(connection, run_id)

        return self.database.write(work)

    def get_run(self, run_id: str) -> Run:
        with self.database.read() as connection:
            return _load_one(connection, run_id)

    def update_run(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        end_time: int | None = None,
        name: str | None = None,
    ) -> Run:
        values: dict[str, Any] = {}
        if status is not None:
            values["status"] = RunStatus(status)
        if end_time is not None:
            values["end_time"] = names.check_time("end_time", end_time)
        tags = {} if name is None else names.check_tags({RUN_NAME_TAG: name})

        def work(connection: Connection) -> Run:
            number = active_run(connection, run_id)
            if values:
                connection.execute(update(runs).where(runs.c.id == number).values(values))
            write_tags(connection, number, tags)
            return _load_one(connection, run_id)

        return self.database.write(work)

    def delete_run(self, run_id: str) -> None:
        self._set_run_stage(run_id, LifecycleStage.DELETED)

    def restore_run(self, run_id: str) -> None:
        self._set_run_stage(run_id, LifecycleStage.ACTIVE)

    def log_batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        model_metrics: Sequence[ModelMetric] = (),
    ) -> None:
        points = names.check_metrics(metrics)
        of_models = check_model_metrics(list(model_metrics))
        checked_params = names.check_params(params or {})
        checked_tags = names.check_tags(tags or {})

        def work(connection: Connection) -> None:
            number = active_run(connection, run_id)
            if conflicts := write_params(connection, number, checked_params):
                raise conflict_error(conflicts, run_id, alone=len(checked_params) == 1)
            write_tags(connection, number, checked_tags)
            write_points(connection, number, [(0, points)])
            write_model_points(connection, number, of_models)

        self.database.write(work)

    def delete_tag(self, run_id: str, key: str) -> None:
        def work(connection: Connection) -> None:
            if not remove_tag(connection, active_run(connection, run_id), key):
                raise NotFoundError(f"No tag with name: {key} in run with id {run_id}.")

        self.database.write(work)

    def append_to_tag(self, run_id: str, key: str, value: Any) -> None:
        names.check_key("tag", key)

        def work(connection: Connection) -> None:
            number = active_run(connection, run_id)
            connection.execute(_LOCK, {"run": number})
            append_to_tag(connection, number, key, value)

        self.database.write(work)

    def _set_run_stage(self, run_id: str, stage: LifecycleStage) -> None:
        def work(connection: Connection) -> None:
            row = run_row(connection, run_id, lock=True)
            at: Any = None
            if stage is LifecycleStage.ACTIVE:
                active_experiment(connection, str(row.experiment))
                _refuse_removed(row)
            else:
                at = func.coalesce(runs.c.deletion_time, now())
            changed = update(runs).where(runs.c.id == row.id)
            connection.execute(changed.values(lifecycle_stage=stage, deletion_time=at))

        self.database.write(work)


def insert_run(
    connection: Connection,
    run_id: str,
    experiment: Row[Any],
    artifact_root: str,
    *,
    name: str,
    user_id: str,
    start_time: int,
) -> int | None:
    """Add a running run and return its number, or None when the id is there already."""
    values = {
        "run_id": run_id,
        "experiment": experiment.id,
        "name": name,
        "status": RunStatus.RUNNING,
        "user_id": user_id,
        "start_time": start_time,
        "artifact_uri": f"{artifact_location(experiment, artifact_root).rstrip('/')}/{run_id}/artifacts",
        "lifecycle_stage": LifecycleStage.ACTIVE,
    }
    statement = upsert(connection, runs, ["run_id"], []).values(values).returning(runs.c.id)
    return connection.execute(statement).scalar()


def run_row(connection: Connection, run_id: str, *, lock: bool = False) -> Row[Any]:
    """The row of a run, deleted or not; `lock` keeps it unchanged until the transaction ends."""
    query = select(runs).where(runs.c.run_id == run_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise _not_found(run_id)
    return row


class FoundRun(NamedTuple):
    """What most writes need to know of a run."""

    id: int
    lifecycle_stage: str


def find_run(connection: Connection, run_id: str) -> FoundRun | None:
    """Number and lifecycle stage of a run, if it is there; cheaper than its row."""
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    found = execute(connection, _FIND + mark, (run_id,))
    return FoundRun(*found[0]) if found else None


def active_run(connection: Connection, run_id: str) -> int:
    """The number of a run that may be changed."""
    row = find_run(connection, run_id)
    if row is None:
        raise _not_found(run_id)
    if row.lifecycle_stage != LifecycleStage.ACTIVE:
        raise InactiveError(
            f"The run {run_id} must be in the 'active' state. Current state is {row.lifecycle_stage}. Restore it first."
        )
    return int(row.id)


def _load_one(connection: Connection, run_id: str) -> Run:
    return load_runs(connection, [run_row(connection, run_id)])[0]


def _agreed_name(name: str | None, tag: str | None) -> str:
    """The name that argument and tag give, or a made-up one."""
    if name and tag and name != tag:
        raise InvalidInputError(
            f"Both 'run_name' argument and '{RUN_NAME_TAG}' tag are specified, but with different values "
            f"(run_name='{name}', {RUN_NAME_TAG}='{tag}'). Give one of them."
        )
    given = name or tag
    return names.check_text("The name of a run", given)[: names.MAX_TAG_VALUE] if given else made_up_name()


def _refuse_removed(row: Row[Any]) -> None:
    if row.removal_time is not None:
        raise InactiveError(f"The run {row.run_id} is being removed for good; it cannot be restored any more.")


def _not_found(run_id: str) -> NotFoundError:
    return NotFoundError(f"Run with id={run_id} not found. Check the id, and that this is the store it was logged to.")
