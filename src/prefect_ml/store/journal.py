"""Applying journals: what processes recorded on their own disks, exactly once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, select, update

from prefect_ml.entities import LifecycleStage, Rejection, RunStatus
from prefect_ml.errors import InvalidInputError, JournalOffsetError
from prefect_ml.store import names
from prefect_ml.store.attempts import end_run, newest_attempt, start_attempt
from prefect_ml.store.experiments import DEFAULT, ensure_experiment, find_experiment
from prefect_ml.store.input_names import check_input
from prefect_ml.store.inputs import write_inputs
from prefect_ml.store.pairs import RUN_NAME_TAG, write_params, write_tags
from prefect_ml.store.registry_tables import audit
from prefect_ml.store.rows import Rows, now
from prefect_ml.store.run_names import made_up_name
from prefect_ml.store.runs import find_run, insert_run, run_row
from prefect_ml.store.sources import write_recorded
from prefect_ml.store.statements import upsert
from prefect_ml.store.tables import journals, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Row

    from prefect_ml.entities import Attempt, JournalSpan, Metric, RunBatch, RunStart

T = TypeVar("T")


class JournalRows(Rows):
    def apply_journal(self, span: JournalSpan, batches: Sequence[RunBatch]) -> Sequence[Rejection]:
        names.check_text("A journal id", span.journal_id)
        if not 0 <= span.start <= span.end:
            raise InvalidInputError(f"A journal span goes forward from at least 0, got {span.start} to {span.end}.")

        def work(connection: Connection) -> list[Rejection]:
            refused: list[Rejection] = []
            if _advance(connection, span):
                for batch in batches:
                    _apply(connection, batch, self.artifact_root, refused)
            return refused

        return self.database.write(work)

    def journal_offset(self, journal_id: str) -> int:
        query = select(journals.c.position).where(journals.c.journal_id == journal_id)
        with self.database.read() as connection:
            return int(connection.execute(query).scalar() or 0)


def _advance(connection: Connection, span: JournalSpan) -> bool:
    """Move the journal's position over the span; False when it is there already."""
    mine = journals.c.journal_id == span.journal_id
    first = upsert(connection, journals, ["journal_id"], [])
    connection.execute(first, {"journal_id": span.journal_id, "position": 0})
    position = connection.execute(select(journals.c.position).where(mine).with_for_update()).scalar_one()
    if span.end <= position:
        return False
    if span.start != position:
        raise JournalOffsetError(position)
    connection.execute(update(journals).where(mine).values(position=span.end))
    return True


def _apply(connection: Connection, batch: RunBatch, root: str, refused: list[Rejection]) -> None:
    """Apply what can be applied of a batch, and note what cannot."""
    run_id = batch.run_id
    try:
        names.check_run_id(run_id)
    except InvalidInputError as error:
        refused.append(Rejection(f"run {run_id!r}", str(error)))
        return
    if _was_removed(connection, run_id):
        refused.append(Rejection(f"run {run_id!r}", "The run was removed for good; log to another one."))
        return
    run = _started(connection, batch, root, refused)
    if run.lifecycle_stage != LifecycleStage.ACTIVE:
        refused.append(Rejection(f"run {run_id!r}", "The run is deleted; restore it to log to it."))
        return
    params = _sifted("param", batch.params.items(), _check_param, refused)
    conflicts = write_params(connection, run.id, dict(params))
    refused.extend(Rejection(f"param {each.key!r}", str(each.error(run_id))) for each in conflicts)
    given_tags = {**(batch.start.tags if batch.start else {}), **batch.tags}
    write_tags(connection, run.id, dict(_sifted("tag", given_tags.items(), _check_tag, refused)))
    recorded = [replace(each, metrics=_checked_points(each.metrics, refused)) for each in batch.recorded]
    write_recorded(connection, run_id, run.id, _checked_points(batch.metrics, refused), recorded)
    if batch.inputs:
        given = [(each.dataset.name, each) for each in batch.inputs]
        write_inputs(connection, run.id, _sifted("data set", given, lambda item: check_input(item[1]), refused))
    if batch.end is not None:
        end_run(connection, run.id, batch.end)


def _was_removed(connection: Connection, run_id: str) -> bool:
    """Whether a run is not there because it was removed; what is delivered late must not bring it back."""
    if find_run(connection, run_id) is not None:
        return False
    rows = select(audit.c.sequence).where(audit.c.subject == f"runs:/{run_id}", audit.c.action == "removed")
    return connection.execute(rows.limit(1)).first() is not None


def _started(connection: Connection, batch: RunBatch, root: str, refused: list[Rejection]) -> Row[Any]:
    """The row of a batch's run, created or continued as its start says."""
    start, run_id = batch.start, batch.run_id
    known = find_run(connection, run_id)
    if start is None:
        if known is None:
            default = find_experiment(connection, DEFAULT)
            _insert(connection, run_id, default, root, name="", user_id="", start_time=now())
        return run_row(connection, run_id)
    experiment, values = _checked_start(connection, start, root, refused)
    if known is None:
        _insert(connection, run_id, experiment, root, **values)
    row = run_row(connection, run_id)
    if row.lifecycle_stage == LifecycleStage.ACTIVE:
        if start.attempt is not None:
            start_attempt(connection, row.id, start.attempt)
        if known is not None:
            _continue(connection, row, experiment, start.attempt, **values)
    return row


def _checked_start(
    connection: Connection, start: RunStart, root: str, refused: list[Rejection]
) -> tuple[Row[Any], dict[str, Any]]:
    """The experiment of a start and its other values; what is wrong with them is replaced."""
    try:
        experiment = ensure_experiment(connection, names.check_experiment_name(start.experiment), root)
    except InvalidInputError as error:
        refused.append(Rejection(f"experiment {start.experiment!r}", str(error)))
        experiment = find_experiment(connection, DEFAULT)
    values: dict[str, Any] = {"name": "", "user_id": "", "start_time": now()}
    checks: dict[str, Callable[[str, Any], Any]]
    checks = {"name": names.check_text, "user_id": names.check_text, "start_time": names.check_time}
    for field, check in checks.items():
        given = getattr(start, field)
        try:
            values[field] = values[field] if given is None else check(field, given)
        except InvalidInputError as error:
            refused.append(Rejection(field, str(error)))
    return experiment, values


def _insert(
    connection: Connection,
    run_id: str,
    experiment: Row[Any],
    root: str,
    *,
    name: str,
    user_id: str,
    start_time: int,
) -> None:
    name = name or made_up_name()
    number = insert_run(connection, run_id, experiment, root, name=name, user_id=user_id, start_time=start_time)
    if number is not None:
        write_tags(connection, number, {RUN_NAME_TAG: name})


def _continue(
    connection: Connection,
    row: Row[Any],
    experiment: Row[Any],
    attempt: Attempt | None,
    *,
    name: str,
    user_id: str,
    start_time: int,
) -> None:
    """Apply a start to a run that is there: the earliest start counts, and an end before it is over.

    Its artifacts stay where they are.
    """
    values: dict[str, Any] = {"experiment": experiment.id, "start_time": min(row.start_time, start_time)}
    if user_id:
        values["user_id"] = user_id
    if _runs_again(connection, row, attempt, start_time):
        values |= {"status": RunStatus.RUNNING, "end_time": None}
    connection.execute(update(runs).where(runs.c.id == row.id).values(values))
    if name:
        write_tags(connection, row.id, {RUN_NAME_TAG: name})


def _runs_again(connection: Connection, row: Row[Any], attempt: Attempt | None, start_time: int) -> bool:
    """Whether a start is news: one that another process delivers late does not undo the end that is known."""
    if attempt is None:
        return bool(row.end_time is None or start_time >= row.end_time)
    newest = newest_attempt(connection, row.id)
    return newest is not None and newest.attempt_id == attempt.attempt_id and newest.end_time is None


def _checked_points(metrics: Sequence[Metric], refused: list[Rejection]) -> list[Metric]:
    try:
        return names.check_metrics(metrics)
    except InvalidInputError:
        return _sifted("metric", metrics, lambda metric: names.check_metrics([metric])[0], refused)


def _sifted(
    what: str, items: Iterable[tuple[Any, ...]], check: Callable[[Any], T], refused: list[Rejection]
) -> list[T]:
    """The items that pass a check; the others are noted as refused."""
    kept: list[T] = []
    for item in items:
        try:
            kept.append(check(item))
        except InvalidInputError as error:
            refused.append(Rejection(f"{what} {item[0]!r}", str(error)))
    return kept


def _check_param(item: tuple[str, str]) -> tuple[str, str]:
    return next(iter(names.check_params(dict([item])).items()))


def _check_tag(item: tuple[str, str]) -> tuple[str, str]:
    return next(iter(names.check_tags(dict([item])).items()))
