"""What other stores said of versions that were copied from them: kept in the audit log, where no row can be changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from prefect_ml.errors import InvalidInputError
from prefect_ml.store import registry_names as names
from prefect_ml.store.audit import record
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.moving_contract import FOREIGN_EVIDENCE_TAG, ForeignEvidence
from prefect_ml.store.registry_rows import RegistryRows, find_version
from prefect_ml.store.registry_tables import audit, model_version_tags
from prefect_ml.store.statements import upsert

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ACTION = "evidence-imported"
# Its row of the audit log holds it as a text, and has at most twice as many.
_LONGEST = 400_000


class ForeignEvidenceRows(RegistryRows):
    def take_over_evidence(
        self, name: str, version: int, origin: str, document: Mapping[str, Any], *, actor: str = ""
    ) -> bool:
        names.check_words("The origin", origin, needed=True)
        names.check_words("The actor", actor)
        text = canonical("The evidence of another store", dict(document))
        if len(text) > _LONGEST:
            raise InvalidInputError(
                f"The evidence of another store has {len(text)} characters; at most {_LONGEST} are kept."
            )
        kept = digest(text)

        def work(connection: Connection) -> bool:
            row = find_version(connection, name, version)
            if kept in [each.digest for each in _told(connection, name, version) if each.origin == origin]:
                return False
            record(
                connection,
                _ACTION,
                _subject(name, version),
                actor=actor,
                reason=names.clip(f"copied from {origin}; it counts for nothing here"),
                after={"origin": origin, "document": document},
                evidence_digest=kept,
            )
            tag = {"model": row.model, "version": version, "key": FOREIGN_EVIDENCE_TAG, "value": kept}
            connection.execute(upsert(connection, model_version_tags, ["model", "version", "key"], ["value"]), [tag])
            return True

        return self.change(work)

    def get_foreign_evidence(self, name: str, version: int) -> Sequence[ForeignEvidence]:
        with self.database.read() as connection:
            find_version(connection, name, version)
            return _told(connection, name, version)


def _told(connection: Connection, name: str, version: int) -> list[ForeignEvidence]:
    """The last of each origin."""
    query = select(audit).where(audit.c.subject == _subject(name, version), audit.c.action == _ACTION)
    found: dict[str, ForeignEvidence] = {}
    for row in connection.execute(query.order_by(audit.c.sequence)):
        after = json.loads(row.after)
        document = after["document"]
        found[after["origin"]] = ForeignEvidence(after["origin"], row.at, row.actor, document, row.evidence_digest)
    return [found[origin] for origin in sorted(found)]


def _subject(name: str, version: int) -> str:
    return f"models:/{name}/{version}"
