"""How far others were told of the audit log: one number for each who tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Table, select

from prefect_ml.store.names import check_text
from prefect_ml.store.registry_names import check_generation, check_words
from prefect_ml.store.registry_rows import RegistryRows
from prefect_ml.store.statements import upsert
from prefect_ml.store.tables import Words, metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

told = Table(
    "told",
    metadata,
    Column("name", Words, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)


class ToldRows(RegistryRows):
    def told_up_to(self, name: str) -> int:
        query = select(told.c.sequence).where(told.c.name == check_text("The name of who tells", name))
        with self.database.read() as connection:
            return connection.execute(query).scalar() or 0

    def set_told(self, name: str, sequence: int) -> None:
        """See `PromotionStore.set_told`."""
        values = {
            "name": check_words("The name of who tells", name, needed=True),
            "sequence": check_generation(sequence, "sequence"),
        }

        def work(connection: Connection) -> None:
            known = connection.execute(select(told.c.sequence).where(told.c.name == name)).scalar()
            if known is None or known < sequence:
                connection.execute(upsert(connection, told, ["name"], ["sequence"]).values(values))

        self.change(work)
