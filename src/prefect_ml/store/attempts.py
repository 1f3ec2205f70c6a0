"""Attempts: started, heard of, and ended, with what that means for their run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select, text, update

from prefect_ml.entities import Attempt, RunStatus
from prefect_ml.store.attempt_tables import attempts
from prefect_ml.store.rows import Rows, now
from prefect_ml.store.runs import run_row
from prefect_ml.store.statements import upsert
from prefect_ml.store.tables import runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.entities import RunEnd

_POSTGRES_NOW = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
_NEWEST_FIRST = (attempts.c.number.desc(), attempts.c.start_time.desc(), attempts.c.id.desc())


class AttemptRows(Rows):
    def get_attempts(self, run_id: str) -> Sequence[Attempt]:
        with self.database.read() as connection:
            mine = select(attempts).where(attempts.c.run == run_row(connection, run_id).id)
            rows = connection.execute(mine.order_by(attempts.c.number, attempts.c.start_time, attempts.c.id))
            return [read_attempt(run_id, row) for row in rows]

    def heartbeat(self, attempt_ids: Sequence[str]) -> None:
        if not attempt_ids:
            return

        def work(connection: Connection) -> None:
            mine = attempts.c.attempt_id.in_(attempt_ids)
            living = update(attempts).where(mine & attempts.c.end_time.is_(None))
            connection.execute(living.values(seen=clock(connection)))
            for row in connection.execute(select(attempts).where(mine & attempts.c.presumed)).all():
                _reopen(connection, row)

        self.database.write(work)

    def silent_attempts(self, timeout: float, max_results: int = 100) -> Sequence[Attempt]:
        with self.database.read() as connection:
            before = clock(connection) - int(timeout * 1000)
            query = select(attempts, runs.c.run_id).join(runs, runs.c.id == attempts.c.run)
            query = query.where(attempts.c.end_time.is_(None) & (attempts.c.seen < before))
            rows = connection.execute(query.order_by(attempts.c.seen).limit(max_results))
            return [read_attempt(row.run_id, row) for row in rows]

    def presume_ended(
        self,
        run_id: str,
        attempt_id: str,
        status: RunStatus,
        end_time: int,
        *,
        seen: int | None = None,
        anew: bool = False,
    ) -> bool:
        def work(connection: Connection) -> bool:
            run = run_row(connection, run_id)
            open_ = attempts.c.end_time.is_(None) | (attempts.c.presumed & anew)
            mine = (attempts.c.attempt_id == attempt_id) & (attempts.c.run == run.id) & open_
            if seen is not None:
                mine &= attempts.c.seen == seen
            values = {"end_time": end_time, "outcome": RunStatus(status), "presumed": True}
            if not connection.execute(update(attempts).where(mine).values(values)).rowcount:
                return False
            newest = newest_attempt(connection, run.id)
            if newest is not None and newest.attempt_id == attempt_id and (anew or run.status == RunStatus.RUNNING):
                set_status(connection, run.id, status, end_time)
            return True

        return self.database.write(work)


def clock(connection: Connection) -> int:
    """The time in ms by the one clock that all who use this store share: the database server's."""
    if connection.dialect.name == "postgresql":
        return int(connection.execute(_POSTGRES_NOW).scalar_one())
    return now()


def start_attempt(connection: Connection, run: int, attempt: Attempt) -> int:
    """Add an attempt of a run unless it is there, and return its number in the table."""
    values: dict[str, Any] = {
        "run": run,
        "attempt_id": attempt.attempt_id,
        "number": attempt.number,
        "start_time": attempt.start_time,
        "host": attempt.host,
        "pid": attempt.pid,
        "seen": clock(connection),
        "presumed": False,
    }
    known = ["host", "pid"] if attempt.host else ["attempt_id"]
    statement = upsert(connection, attempts, ["attempt_id", "run"], known).values(values)
    return int(connection.execute(statement.returning(attempts.c.id)).scalar_one())


def newest_attempt(connection: Connection, run: int) -> Row[Any] | None:
    """The attempt that says how a run is, if it has any."""
    query = select(attempts).where(attempts.c.run == run)
    return connection.execute(query.order_by(*_NEWEST_FIRST).limit(1)).first()


def end_run(connection: Connection, run: int, end: RunEnd) -> None:
    """End an attempt, or all of a run's, and the run with it unless a later attempt has started."""
    status, mine = RunStatus(end.status), attempts.c.run == run
    over = update(attempts).values(end_time=end.end_time, outcome=status, presumed=False)
    newest = newest_attempt(connection, run)
    if end.attempt_id:
        connection.execute(over.where(mine & (attempts.c.attempt_id == end.attempt_id)))
        if newest is not None and newest.attempt_id != end.attempt_id:
            return
    elif newest is not None:
        if end.number and newest.number > end.number:
            return
        connection.execute(over.where(mine & (attempts.c.end_time.is_(None) | attempts.c.presumed)))
    set_status(connection, run, status, end.end_time)


def set_status(connection: Connection, run: int, status: RunStatus, end_time: int | None) -> None:
    values = {"status": status, "end_time": end_time if RunStatus(status).ended else None}
    connection.execute(update(runs).where(runs.c.id == run).values(values))


def _reopen(connection: Connection, row: Row[Any]) -> None:
    """An attempt that was presumed dead lives."""
    values = {"end_time": None, "outcome": None, "presumed": False, "seen": clock(connection)}
    connection.execute(update(attempts).where(attempts.c.id == row.id).values(values))
    newest = newest_attempt(connection, row.run)
    if newest is not None and newest.id == row.id:
        set_status(connection, row.run, RunStatus.RUNNING, None)


def read_attempt(run_id: str, row: Row[Any]) -> Attempt:
    """An attempt as it was kept."""
    return Attempt(
        run_id,
        row.attempt_id,
        row.number,
        row.start_time,
        row.end_time,
        None if row.outcome is None else RunStatus(row.outcome),
        row.host,
        row.pid,
        row.seen,
        bool(row.presumed),
    )
