"""Calls that a client may repeat because it got no answer: each is done once, and every repetition gets its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, delete, select, update

from prefect_ml.store.rows import Rows, now
from prefect_ml.store.statements import upsert
from prefect_ml.store.tables import Words, metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from prefect_ml.store.calls import Answer

# Milliseconds that an answer is kept: a client repeats a call for two minutes at most.
_KEPT = 15 * 60_000
_SWEPT_EACH = 5 * 60_000

calls = Table(
    "calls",
    metadata,
    Column("key", Words, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Index("ix_calls_at", "at"),
)


class OnceRows(Rows):
    _swept = 0

    def once(self, key: str, work: Callable[[], Answer]) -> Answer:
        """See `KeyedStore`."""

        def noted(connection: Connection) -> Answer:
            mine = upsert(connection, calls, ["key"], []).values(key=key, at=now(), status=0, answer=b"")
            mine = mine.returning(calls.c.key)
            named = calls.c.key == key
            if connection.execute(mine).first() is None:
                row = connection.execute(select(calls.c.status, calls.c.answer).where(named)).one()
                return row.status, row.answer
            with self.database.joined(connection):
                status, answer = work()
            connection.execute(update(calls).where(named).values(status=status, answer=answer))
            return status, answer

        answer = self.database.write(noted)
        self._sweep()
        return answer

    def _sweep(self) -> None:
        """Let go of old answers, now and then."""
        time = now()
        if time - self._swept > _SWEPT_EACH:
            self._swept = time
            old = delete(calls).where(calls.c.at < time - _KEPT)
            self.database.write(lambda connection: connection.execute(old) and None)
