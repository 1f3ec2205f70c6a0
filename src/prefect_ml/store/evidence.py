"""What gates found, recorded as soon as they did, so that whoever was interrupted judges nothing twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Boolean, Column, Connection, PrimaryKeyConstraint, Row, Table, Text, select

from prefect_ml.entities import GateResult, RecordedGate
from prefect_ml.errors import InvalidInputError, PromotionError, StaleRequestError
from prefect_ml.store import registry_names as names
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.names import check_text
from prefect_ml.store.registry_rows import RegistryRows
from prefect_ml.store.registry_tables import promotion_requests
from prefect_ml.store.rows import now
from prefect_ml.store.statements import upsert
from prefect_ml.store.tables import Words, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

gate_results = Table(
    "gate_results",
    metadata,
    Column("key", Words, nullable=False),
    Column("gate", Words, nullable=False),
    Column("name", Words, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("alias", Words, nullable=False),
    Column("spec_digest", Words, nullable=False),
    Column("artifact_digest", Words, nullable=False),
    Column("champion_generation", BigInteger, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("summary", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("key", "gate"),
)

_KEYS = ["key", "gate"]
# What a result is about: one of something else does not stand for it.
_BOUND = ("name", "version", "alias", "spec_digest", "artifact_digest", "champion_generation")
_CHANGED = [*_BOUND, "passed", "summary", "evidence", "at"]


class EvidenceRows(RegistryRows):
    def get_gate_results(self, key: str) -> Sequence[RecordedGate]:
        check_text("The key", key)
        with self.database.read() as connection:
            return recorded_gates(connection, key)

    def record_gate_result(self, recorded: RecordedGate) -> RecordedGate:
        """See `PromotionStore.record_gate_result`.

        Raises:
            InvalidInputError: the result is no verdict, or its evidence no JSON.
            PromotionError: something was asked for under this key already, so its evidence is closed.
        """
        result = recorded.result
        if not isinstance(result.passed, bool):
            raise InvalidInputError(f"A gate passed or not: True or False, got {result.passed!r}.")
        values: dict[str, Any] = {
            "key": names.check_words("The key", recorded.key, needed=True),
            "gate": names.check_words("The name of a gate", result.gate, needed=True),
            "name": names.check_words("The name of a registered model", recorded.name, needed=True),
            "version": names.check_version(recorded.version),
            "alias": names.check_alias(recorded.alias),
            "spec_digest": names.check_words("The digest of a gate", recorded.spec_digest, needed=True),
            "artifact_digest": names.check_words("The digest", recorded.artifact_digest),
            "champion_generation": names.check_generation(recorded.champion_generation),
            "passed": result.passed,
            "summary": check_text("The summary of a gate", result.summary),
            "evidence": canonical("The evidence", dict(result.evidence)),
        }

        def work(connection: Connection) -> RecordedGate:
            there = select(gate_results).where(gate_results.c.key == values["key"])
            there = there.where(gate_results.c.gate == values["gate"])
            known = connection.execute(there).first()
            if known is not None and all(getattr(known, name) == values[name] for name in _BOUND):
                return _recorded(known)
            asked = select(promotion_requests.c.request_id).where(promotion_requests.c.key == values["key"])
            if (request := connection.execute(asked).scalar()) is not None:
                raise PromotionError(
                    f"The request {request} was made under the key {values['key']!r} already, so its evidence is "
                    "closed; judge again under another key."
                )
            row = values | {"at": now()}
            connection.execute(upsert(connection, gate_results, _KEYS, _CHANGED).values(row))
            return _recorded(connection.execute(there).one())

        return self.change(work)


def spec_digest(gate: Mapping[str, Any]) -> str:
    """The digest of a gate's specification, as a policy holds it."""
    return digest(canonical("The gate", dict(gate)))


def trial_key(request_key: str, part: str) -> str:
    """The key under which a request's gates are judged once more, such as at the end of its "canary" or "soak"."""
    return f"{request_key}#{part}"


def recorded_gates(connection: Connection, key: str) -> list[RecordedGate]:
    """What was recorded under a key, in the order of its time."""
    query = select(gate_results).where(gate_results.c.key == key).order_by(gate_results.c.at, gate_results.c.gate)
    return [_recorded(row) for row in connection.execute(query)]


def check_evidence(
    connection: Connection, asked: Mapping[str, Any], evidence: Sequence[GateResult], generation: int
) -> int | None:
    """Refuse evidence that is not of what is asked for; when the oldest of it was recorded, None where none was.

    Raises:
        InvalidInputError: it is about another version or other files, or not what was recorded under the key.
        StaleRequestError: it is about another champion than the one of `generation`.
    """
    recorded = {each.result.gate: each for each in recorded_gates(connection, asked["key"])}
    times = []
    for result in evidence:
        for word in ("version", "artifact_digest"):
            if result.evidence.get(word, asked[word]) != asked[word]:
                raise InvalidInputError(
                    f"What the gate {result.gate!r} found is about the {word} {result.evidence[word]!r}, and "
                    f"{asked[word]!r} asks for the alias; judge the version that asks."
                )
        kept = recorded.get(result.gate)
        if kept is not None and (kept.version, kept.artifact_digest) == (asked["version"], asked["artifact_digest"]):
            if _said(kept.result) != _said(result):
                raise InvalidInputError(
                    f"What the gate {result.gate!r} is said to have found is not what was recorded when it was judged; "
                    "ask with what is recorded."
                )
            times.append(kept.at)
        seen = kept.champion_generation if kept else result.evidence.get("champion_generation", generation)
        if seen != generation:
            raise StaleRequestError(
                f"@{asked['alias']} of {asked['name']!r} moved while the gates ran, so the gate {result.gate!r} "
                "compared with another champion; ask for the promotion again."
            )
    return min(times, default=None)


def _said(result: GateResult) -> tuple[object, ...]:
    return result.passed, result.summary, canonical("The evidence", dict(result.evidence))


def _recorded(row: Row[Any]) -> RecordedGate:
    return RecordedGate(
        key=row.key,
        name=row.name,
        version=row.version,
        alias=row.alias,
        spec_digest=row.spec_digest,
        artifact_digest=row.artifact_digest,
        champion_generation=row.champion_generation,
        result=GateResult(row.gate, row.passed, row.summary, json.loads(row.evidence)),
        at=row.at,
    )
