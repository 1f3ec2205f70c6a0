"""What gates found, as the audit log covers it: by one digest of all that was recorded under a request's key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.evidence import gate_results

if TYPE_CHECKING:
    from sqlalchemy import Connection


def gates_digest(connection: Connection, key: str) -> str | None:
    """The digest of the results under a key; None when there are none.

    Once something was asked for under the key, nothing is added to them.
    """
    query = select(gate_results).where(gate_results.c.key == key).order_by(gate_results.c.gate)
    # Each by itself: the evidence of all gates may be longer than a document.
    rows = connection.execute(query).mappings()
    found = [digest(canonical("A gate's result", {**row, "evidence": digest(row["evidence"])})) for row in rows]
    return digest(canonical("The gates' results", found)) if found else None
