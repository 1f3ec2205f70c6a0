"""What a row of the audit log says of the records beside it: which record, and what stands in its columns.

Rows of before this was compared say less; what they do not say is not compared.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_ml.entities import RequestStatus
from prefect_ml.entities.endpoints import ENDPOINT_URI
from prefect_ml.store.canonical import canonical, digest

if TYPE_CHECKING:
    from collections.abc import Mapping

# The origin in rows of before origins were kept.
UNTOLD = "{}"
_SAVED = "policy-saved"
_CREATED = "request-created"
_APPROVED = "request-approved"
_REJECTED = "request-rejected"
_MODEL = "models:/"
_POLICY = "policies:/"
_ENDPOINT_ACTION = "endpoint-"
# The column of a request, and the word of the row that tells of it.
_OF_REQUEST = {
    "id": "number",
    "key": "key",
    "version": "version",
    "stage": "stage",
    "artifact_digest": "digest",
    "policy": "policy",
    "policy_version": "policy_version",
    "requested_at": "requested_at",
    "expires_at": "expires_at",
    "flow_run_id": "flow_run",
    "kind": "kind",
    "reason": "why_asked",
    "judged_at": "judged_at",
    "verdicts": "verdicts",
    "gates": "gates",
}
# The same of a decision.
_OF_DECISION = ("channel", "decided_at", "policy", "policy_version")


def request_words(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the row of a new request says of its columns, as far as they are given; of its verdicts, their digest."""
    said = {word: values[column] for column, word in _OF_REQUEST.items() if column in values}
    return said | {word: digest(said[word]) for word in ("verdicts",) if said.get(word) is not None}


def request_as_told(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The columns of a request as the log tells of them: of its documents, their digests."""
    found = {**row}
    if digest(found.pop("evidence")) != row["evidence_digest"]:
        found["evidence_digest"] = "evidence of another digest"
    if row["verdicts"] is not None:
        found["verdicts"] = digest(row["verdicts"])
    return found


def decision_words(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the row of a decision says of its columns, as far as they are given."""
    return {name: values[name] for name in ("number", *_OF_DECISION) if name in values}


class Told(NamedTuple):
    """What a row says of one record.

    Attributes:
        sequence: of the row.
        key: of the record, in the order of its table's key.
        columns: what stands in its columns, as far as the row says it.
    """

    sequence: int
    key: tuple[Any, ...]
    columns: Mapping[str, Any]


class Turn(NamedTuple):
    """What a row says of a request's status: what it was, what it became, and why; None where it does not say."""

    sequence: int
    request: str
    before: str | None
    after: str
    why: str | None


class Entry:
    """A row of the log with its documents read.

    Attributes:
        row: as it is stored.
        before: what was there.
        after: what is there since.
    """

    __slots__ = ("after", "before", "row")

    def __init__(self, row: Mapping[Any, Any]) -> None:
        self.row = row
        self.before: dict[str, Any] = json.loads(row["before"])
        self.after: dict[str, Any] = json.loads(row["after"])

    def move(self) -> Told | None:
        """Of `alias_moves`, by model, alias and generation."""
        name, alias = self.alias
        if not alias or "generation" not in self.after:
            return None
        stages = self.after.get("stages")
        said = {
            "version": self.after.get("version"),
            "moved_by": self.row["actor"],
            "request_id": self.after.get("request"),
            "reason": self.row["reason"],
            "key": self.after.get("key"),
            "stages": None if stages is None else canonical("The stages", stages),
        }
        if "moved_at" in self.after:
            said |= {"moved_at": self.after["moved_at"], "previous_version": self.after.get("previous")}
        return Told(self.sequence, (name, alias, self.after["generation"]), said)

    def policy(self) -> Told | None:
        """Of `policies`, by name and version; of the content, its digest."""
        if self.row["action"] != _SAVED:
            return None
        subject: str = self.row["subject"]
        said = {"digest": self.after["digest"], "saved_by": self.row["actor"]}
        if "saved_at" in self.after:
            said["saved_at"] = self.after["saved_at"]
        return Told(self.sequence, (subject.removeprefix(_POLICY), self.after["version"]), said)

    def request(self) -> Told | None:
        """Of `promotion_requests`, by id; how it was made, which never changes."""
        if self.row["action"] != _CREATED:
            return None
        name, alias = self.alias
        said = {
            "name": name,
            "alias": alias,
            "requester": self.row["actor"],
            "evidence_digest": self.row["evidence_digest"],
            "base_version": self.before.get("version"),
            "base_generation": self.before["generation"],
        }
        said |= {column: self.after[word] for column, word in _OF_REQUEST.items() if word in self.after}
        return Told(self.sequence, (self.after["request"],), said)

    def decision(self) -> Told | None:
        """Of `promotion_decisions`, by the request's id and the number."""
        if self.row["action"] not in (_APPROVED, _REJECTED):
            return None
        said = {
            "actor": self.row["actor"],
            "approve": self.row["action"] == _APPROVED,
            "reason": self.row["reason"],
        }
        said |= {name: self.after[name] for name in _OF_DECISION if name in self.after}
        return Told(self.sequence, (self.after["request"], self.after.get("number")), said)

    def revision(self) -> Told | None:
        """Of `endpoint_revisions`, by name and revision; of the routes, their weights and the digest of the text."""
        subject: str = self.row["subject"]
        if not subject.startswith(ENDPOINT_URI):
            return None
        said = {
            "weights": self.after["routes"],
            "action": self.row["action"].removeprefix(_ENDPOINT_ACTION),
            "changed_by": self.row["actor"],
            "changed_at": self.after["changed_at"],
            "reason": self.row["reason"],
            "rollout": self.after.get("rollout", ""),
        }
        if "digest" in self.after:
            bound = canonical("The aliases", self.after["bound"])
            said |= {"bound": bound, "step": self.after.get("step", 0), "routes": self.after["digest"]}
        return Told(self.sequence, (subject.removeprefix(ENDPOINT_URI), self.after["revision"]), said)

    def turn(self) -> Turn | None:
        """Of the status of a request."""
        if "request" not in self.after:
            return None
        request, before = self.after["request"], self.before.get("status")
        if "status" in self.after:
            decided = self.row["action"] in (_APPROVED, _REJECTED)
            why = self.after.get("why") if decided else self.row["reason"]
            return Turn(self.sequence, request, before, self.after["status"], why)
        if "generation" in self.after:
            why = f"moved to version {self.after['version']}, generation {self.after['generation']}"
            return Turn(self.sequence, request, RequestStatus.APPROVED, RequestStatus.PROMOTED, why)
        return None

    @property
    def sequence(self) -> int:
        number: int = self.row["sequence"]
        return number

    @property
    def alias(self) -> tuple[str, str]:
        """The model and the alias that the row is about; no alias when it is about something else."""
        subject: str = self.row["subject"]
        name, _, alias = subject.removeprefix(_MODEL).rpartition("@")
        return (name, alias) if subject.startswith(_MODEL) else ("", "")
