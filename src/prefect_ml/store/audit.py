"""The audit log: append-only rows, each of which covers the one before it by its hash."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Insert, RowMapping, Update, insert, select, update

from prefect_ml.entities import AuditEntry
from prefect_ml.errors import CorruptArtifactError
from prefect_ml.store.audit_check import RecordCheck
from prefect_ml.store.audit_told import UNTOLD
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.names import check_text
from prefect_ml.store.origin import here
from prefect_ml.store.paging import check_page_size
from prefect_ml.store.registry_tables import audit, audit_head
from prefect_ml.store.rows import Rows, now
from prefect_ml.store.statements import Together, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AUDIT_HEAD = select(audit_head.c.sequence, audit_head.c.hash).where(audit_head.c.id == 1)


class AuditHead(NamedTuple):
    """The end of the log: the number of its last row, and its hash."""

    sequence: int
    hash: str


# What appends a row, as parts of statements that are sent together.
APPENDED: dict[str, Insert | Update] = {
    "audit": insert(audit).values(values_of("audit", audit.c.keys())),
    "head": update(audit_head).where(audit_head.c.id == 1).values(values_of("head", ["sequence", "hash"])),
}
_APPEND = Together(**APPENDED)
_COVERED = tuple(column.name for column in audit.c if column.name != "hash")
_DOCUMENTS = ("before", "after", "origin")
_BLOCK = 1000


class AuditRows(Rows):
    def audit(self, *, subject: str | None = None, after: int = 0, max_results: int = 1000) -> Sequence[AuditEntry]:
        check_page_size(max_results)
        query = select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(max_results)
        if subject is not None:
            query = query.where(audit.c.subject == check_text("The subject", subject))
        with self.database.read() as connection:
            return [_entry(row) for row in connection.execute(query).mappings()]

    def verify_audit(self) -> int:
        with self.database.read() as connection:
            records = RecordCheck(connection)
            length, previous = 0, ""
            while rows := _block(connection, length):
                for row in rows:
                    if row["sequence"] != length + 1:
                        raise _broken(length + 1, "it is missing")
                    if row["previous_hash"] != previous:
                        raise _broken(length + 1, "it does not continue the row before it")
                    if row["hash"] != hash_of(row):
                        raise _broken(length + 1, "it was changed")
                    length, previous = row["sequence"], row["hash"]
                records.take(rows)
            head = connection.execute(AUDIT_HEAD).first()
            if head is None or (head.sequence, head.hash) != (length, previous):
                raise _broken(length + 1, "the chain's end was cut off or replaced")
            records.end()
        return length


def record(
    connection: Connection,
    action: str,
    subject: str,
    *,
    actor: str = "",
    reason: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    evidence_digest: str = "",
    head: AuditHead | None = None,
    together: Together | None = None,
    beside: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Append one row, within a change of the registry.

    Args:
        connection: of the transaction that does what the row tells.
        action: what was done, such as "promoted".
        subject: to what, as a URI such as "models:/churn@champion".
        actor: who did it; whose change it is by its origin when nobody said.
        reason: why.
        before: what was there.
        after: what is there now.
        evidence_digest: the digest of what it rests on.
        head: the end of the log, where it was read in this change and nothing was recorded since; read by default.
        together: `APPENDED` and other writes of the change, which are sent along.
        beside: the parameters of those.
    """
    end = head or AuditHead(*connection.execute(AUDIT_HEAD.with_for_update()).one())
    row: dict[str, Any] = {
        "sequence": end.sequence + 1,
        "at": now(),
        "actor": actor or here().who,
        "action": action,
        "subject": subject,
        "reason": reason,
        "before": canonical("The audit row", dict(before or {})),
        "after": canonical("The audit row", dict(after or {})),
        "evidence_digest": evidence_digest,
        "previous_hash": end.hash,
        "origin": canonical("The origin", dict(here().facts)),
    }
    row["hash"] = hash_of(row)
    (together or _APPEND).execute(
        connection, audit=row, head={"sequence": row["sequence"], "hash": row["hash"]}, **beside
    )


def _block(connection: Connection, after: int) -> list[RowMapping]:
    query = select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(_BLOCK)
    return list(connection.execute(query).mappings())


def hash_of(row: Mapping[Any, Any]) -> str:
    """The hash that a row has to have, of all its columns but that; of an origin only where there is one."""
    covered = {name: row[name] for name in _COVERED if name != "origin" or row[name] != UNTOLD}
    return digest(canonical("The audit row", covered))


def hash_of_entry(entry: AuditEntry) -> str:
    """The hash that an entry has to have."""
    row = {name: getattr(entry, name) for name in _COVERED}
    return hash_of(row | {name: canonical("The audit row", dict(row[name])) for name in _DOCUMENTS})


def _entry(row: RowMapping) -> AuditEntry:
    values: dict[str, Any] = {column.name: row[column.name] for column in audit.c}
    documents = {name: json.loads(row[name]) for name in _DOCUMENTS}
    return AuditEntry(**values | documents)


def _broken(sequence: int, why: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"The audit log is broken at row {sequence}: {why}. Someone wrote to the database by other means; "
        "compare with a backup."
    )
