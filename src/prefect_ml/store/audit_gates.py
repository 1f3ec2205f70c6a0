"""What gates found, as the audit log covers it: by one digest of all that was recorded under a request's key."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.evidence import gate_results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Select


def gates_digest(connection: Connection, key: str) -> str | None:
    """The digest of the results under a key; None when there are none.

    Once something was asked for under the key, nothing is added to them.
    """
    return gates_digests(connection, [key]).get(key)


def gates_digests(connection: Connection, keys: Sequence[str] | Select[Any]) -> Mapping[str, str]:
    """The digests of the results under keys, or under those that a query finds, by key."""
    query = select(gate_results).where(gate_results.c.key.in_(keys)).order_by(gate_results.c.key, gate_results.c.gate)
    found: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        # Each by itself: the evidence of all gates may be longer than a document.
        one = canonical("A gate's result", {**row, "evidence": digest(row["evidence"])})
        found[row["key"]].append(digest(one))
    return {key: digest(canonical("The gates' results", digests)) for key, digests in found.items()}
