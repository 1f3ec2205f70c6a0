"""How a run was executed, taken over with it: its attempts, their steps, and what recorded in them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select

from prefect_ml.entities import Attempt, RunStatus, Source, Step
from prefect_ml.errors import InvalidInputError
from prefect_ml.store.attempt_tables import attempts, source_names, sources, steps
from prefect_ml.store.attempts import read_attempt
from prefect_ml.store.moving_contract import MovedRun, MovedSource
from prefect_ml.store.names import check_step, check_text, check_time

if TYPE_CHECKING:
    from collections.abc import Sequence

_OF_STEPS = ("task_run_id", "name", "task_key", "state", "start_time", "end_time", "run_count")
# Far more than any run has; a hostile export fills no database.
_MOST = 100_000


def load_attempts(connection: Connection, run_id: str, run: int) -> list[Attempt]:
    """Those that have ended; one that lives is followed where it lives."""
    query = select(attempts).where(attempts.c.run == run, attempts.c.end_time.is_not(None))
    rows = connection.execute(query.order_by(attempts.c.number, attempts.c.start_time, attempts.c.id))
    return [read_attempt(run_id, row) for row in rows]


def load_steps(connection: Connection, run: int) -> list[Step]:
    """Without what they recorded, which is what their sources say."""
    query = select(*(steps.c[name] for name in _OF_STEPS)).where(steps.c.run == run).order_by(steps.c.task_run_id)
    return [Step(**row) for row in connection.execute(query).mappings()]


def load_sources(connection: Connection, run: int) -> list[MovedSource]:
    """What recorded in ended attempts, with the names by kind."""
    columns = (attempts.c.attempt_id, attempts.c.number, attempts.c.start_time, sources.c.scope, sources.c.retry)
    query = select(sources.c.id, *columns, sources.c.task_run_id, source_names.c.kind, source_names.c.name)
    query = query.join_from(sources, attempts, sources.c.attempt == attempts.c.id)
    query = query.join(source_names, source_names.c.source == sources.c.id)
    query = query.where(sources.c.run == run, attempts.c.end_time.is_not(None))
    found: dict[Source, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    order = (sources.c.id, source_names.c.kind, source_names.c.name)
    for _, *fields, kind, name in connection.execute(query.order_by(*order)):
        found[Source(*fields)][kind].append(name)
    return [MovedSource(source, dict(names)) for source, names in found.items()]


def checked_execution(moved: MovedRun) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Sequence[MovedSource]]:
    """The rows of attempts and steps, and the sources, each value one that can be kept.

    Raises:
        InvalidInputError: there are too many, or a value is none.
    """
    if max(len(moved.attempts), len(moved.steps), len(moved.sources)) > _MOST:
        raise InvalidInputError(f"The run {moved.run.run_id} has more than {_MOST} attempts, steps or sources.")
    ended = {each.attempt_id: _attempt(each) for each in moved.attempts if each.end_time is not None}
    done = {each.task_run_id: _step(each) for each in moved.steps}
    told = {
        (source.attempt_id, source.scope, source.retry, source.task_run_id): each
        for each in map(_checked, moved.sources)
        if (source := each.source).attempt_id in ended
    }
    return list(ended.values()), list(done.values()), list(told.values())


def write_execution(
    connection: Connection,
    run: int,
    ended: Sequence[dict[str, Any]],
    done: Sequence[dict[str, Any]],
    told: Sequence[MovedSource],
) -> None:
    """Add what `checked_execution` gave to a run that is new."""
    numbers = {}
    for values in ended:
        added = insert(attempts).values(values | {"run": run}).returning(attempts.c.id)
        numbers[values["attempt_id"]] = connection.execute(added).scalar_one()
    if done:
        connection.execute(insert(steps), [values | {"run": run} for values in done])
    for each in told:
        source = each.source
        values = {"run": run, "attempt": numbers[source.attempt_id], "scope": source.scope, "retry": source.retry}
        values["task_run_id"] = source.task_run_id
        number = connection.execute(insert(sources).values(values).returning(sources.c.id)).scalar_one()
        pairs = sorted({(kind, name) for kind, names in each.names.items() for name in names})
        if pairs:
            rows = [{"source": number, "kind": kind, "name": name} for kind, name in pairs]
            connection.execute(insert(source_names), rows)


def _attempt(given: Attempt) -> dict[str, Any]:
    return {
        "attempt_id": check_text("The id of an attempt", given.attempt_id),
        "number": check_step("The number of an attempt", given.number),
        "start_time": check_time("start_time", given.start_time),
        "end_time": check_time("end_time", given.end_time),
        "outcome": None if given.outcome is None else RunStatus(given.outcome),
        "host": check_text("A host", given.host),
        "pid": check_step("A process id", given.pid),
        "seen": check_time("seen", given.seen),
        "presumed": given.presumed is True,
    }


def _step(given: Step) -> dict[str, Any]:
    texts = {name: check_text(f"The {name} of a step", getattr(given, name)) for name in _OF_STEPS[:4]}
    times = {
        name: None if (at := getattr(given, name)) is None else check_time(name, at)
        for name in ("start_time", "end_time")
    }
    return texts | times | {"run_count": check_step("The run_count of a step", given.run_count)}


def _checked(given: MovedSource) -> MovedSource:
    for text in (given.source.attempt_id, given.source.scope, given.source.task_run_id):
        check_text("A source", text)
    check_step("The retry of a source", given.source.retry)
    for kind, names in given.names.items():
        for text in (kind, *names):
            check_text("What a source recorded", text)
    return given
