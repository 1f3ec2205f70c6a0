"""Steps of runs: what the orchestrator knows of their task runs, and what these recorded."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import select

from prefect_ml.entities import Source, Step
from prefect_ml.store.attempt_tables import attempts, source_names, sources, steps
from prefect_ml.store.bulk import Bulk
from prefect_ml.store.rows import Rows
from prefect_ml.store.runs import active_run, run_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

_COLUMNS = ("task_run_id", "name", "task_key", "state", "start_time", "end_time", "run_count")
_SAVE = Bulk(
    "INSERT INTO steps (run, task_run_id, name, task_key, state, start_time, end_time, run_count)"
    " SELECT {run}, task, name, task_key, state, start_time, end_time, count FROM {rows} WHERE true"
    " ON CONFLICT (run, task_run_id) DO UPDATE SET name = excluded.name, task_key = excluded.task_key,"
    " state = excluded.state, start_time = excluded.start_time, end_time = excluded.end_time,"
    " run_count = excluded.run_count",
    (
        ("task", "text"),
        ("name", "text"),
        ("task_key", "text"),
        ("state", "text"),
        ("start_time", "bigint"),
        ("end_time", "bigint"),
        ("count", "bigint"),
    ),
)


class StepRows(Rows):
    def save_steps(self, run_id: str, steps: Sequence[Step]) -> None:
        rows = sorted({step.task_run_id: [getattr(step, name) for name in _COLUMNS] for step in steps}.items())

        def work(connection: Connection) -> None:
            _SAVE.execute(connection, active_run(connection, run_id), [row for _, row in rows])

        self.database.write(work)

    def get_steps(self, run_id: str) -> Sequence[Step]:
        with self.database.read() as connection:
            run = run_row(connection, run_id).id
            names = _recorded(connection, run)
            mine = select(*(steps.c[name] for name in _COLUMNS)).where(steps.c.run == run)
            rows = connection.execute(mine.order_by(steps.c.start_time, steps.c.name, steps.c.task_run_id))
            return [Step(**row, recorded=names.get(row["task_run_id"], {})) for row in rows.mappings()]

    def recorders(self, run_id: str, kind: str, name: str) -> Sequence[Source]:
        columns = (attempts.c.attempt_id, attempts.c.number, attempts.c.start_time)
        mine = select(*columns, sources.c.scope, sources.c.retry, sources.c.task_run_id)
        mine = mine.join_from(source_names, sources, source_names.c.source == sources.c.id)
        mine = mine.join(attempts, sources.c.attempt == attempts.c.id)
        with self.database.read() as connection:
            mine = mine.where(sources.c.run == run_row(connection, run_id).id)
            mine = mine.where(source_names.c.kind == kind, source_names.c.name == name)
            order = (attempts.c.number, attempts.c.start_time, sources.c.retry, sources.c.id)
            return [Source(*row) for row in connection.execute(mine.order_by(*order))]


def _recorded(connection: Connection, run: int) -> dict[str, dict[str, list[str]]]:
    """Names by kind by task run."""
    query = select(sources.c.task_run_id, source_names.c.kind, source_names.c.name).distinct()
    query = query.join_from(source_names, sources, source_names.c.source == sources.c.id).where(sources.c.run == run)
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for task_run_id, kind, name in connection.execute(query.order_by(source_names.c.kind, source_names.c.name)):
        found[task_run_id][kind].append(name)
    return {task_run_id: dict(kinds) for task_run_id, kinds in found.items()}
