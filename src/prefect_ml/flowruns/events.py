"""What a row of the audit log is as events of Prefect, which automations can trigger on.

An event's id follows from its row, so whoever tells it, however often, tells the same event.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from prefect.events import Event

from prefect_ml.entities import AuditEntry, ModelVersion, PromotionRequest, RequestStatus, Run
from prefect_ml.errors import NotFoundError
from prefect_ml.flowruns import endpoint_events
from prefect_ml.lineage import tags
from prefect_ml.store.contract import Store
from prefect_ml.store.prompts import PROMPT_TAG

T = TypeVar("T")

CREATED = "prefect-ml.model-version.created"
REQUESTED = "prefect-ml.promotion.requested"
APPROVED = "prefect-ml.promotion.approved"
REJECTED = "prefect-ml.promotion.rejected"
EXPIRED = "prefect-ml.promotion.expired"
SUPERSEDED = "prefect-ml.promotion.superseded"
MOVED = "prefect-ml.alias.moved"
ROLLED_BACK = "prefect-ml.alias.rolled-back"
EMERGENCY = "prefect-ml.alias.emergency-rollback"
ALIAS_SET = "prefect-ml.alias.set"
ALIAS_DELETED = "prefect-ml.alias.deleted"
DECAYED = "prefect-ml.alias.decayed"
DRIFTED = "prefect-ml.drift.detected"

_NAMESPACE = uuid.UUID("6c1c1a5e-0d6a-5c56-9f0b-2a2a5d1f4c11")
# How the name of a client begins that named nobody.
_NOBODY = "anonymous@"
# Of rows within a millisecond, so many keep their order by time: there are 1000 microseconds, and two events a row.
_PLACES = 500
# Prefect's server takes 100 related resources by default.
_MOST_DATASETS = 50

_OF_ALIASES = {
    "promoted": MOVED,
    "rolled-back": ROLLED_BACK,
    "emergency-rollback": EMERGENCY,
    "alias-set": ALIAS_SET,
    "alias-deleted": ALIAS_DELETED,
    "decayed": DECAYED,
}
_OF_CLOSED_REQUESTS = {"request-expired": EXPIRED, "request-superseded": SUPERSEDED}
_VERDICTS = {RequestStatus.APPROVED: APPROVED, RequestStatus.REJECTED: REJECTED}


def events_of(store: Store, row: AuditEntry) -> list[Event]:
    """The events that a row stands for: none, one, or two for a request that was decided as it was made.

    What the row is about may be gone by now; the events then say what the row says.
    """
    if row.action == "version-created":
        return [_created(store, row)]
    if row.action in _OF_ALIASES:
        return [_alias_event(store, row, _OF_ALIASES[row.action])]
    if row.action in endpoint_events.ACTIONS:
        kind, about = endpoint_events.ACTIONS[row.action], endpoint_events
        return [_event(row, kind, about.resource_of(row), about.related_of(row), dict(about.payload_of(row)))]
    if row.action.startswith("request-") and "request" in row.after:
        return list(_request_events(store, row))
    return []


def drift_event(store: Store, version: ModelVersion, alias: str, key: str, facts: Mapping[str, Any]) -> Event:
    """That what a version is asked or answers has drifted; no row of the audit log tells it.

    Args:
        store: where the model is.
        version: that is watched.
        alias: that it was found by.
        key: of the finding: the same key is the same event, however often it is told.
        facts: added to the payload.
    """
    name, number = version.name, version.version
    related, payload = _origin(store, name, number)
    resource = _version_resource(name, number) | {"prefect-ml.kind": _kind(store, name), "prefect-ml.alias": alias}
    return Event.model_validate(
        {
            "id": uuid.uuid5(_NAMESPACE, f"{key}/{name}/{number}/{DRIFTED}"),
            "occurred": datetime.now(UTC),
            "event": DRIFTED,
            "resource": resource,
            "related": related,
            "payload": payload | {"alias": alias} | dict(facts),
        }
    )


def _occurred(row: AuditEntry, kind: str) -> datetime:
    """The time of a row, with its place among those of the same millisecond, so that time tells the order."""
    place = row.sequence % _PLACES * 2 + (kind in _VERDICTS.values())
    return datetime.fromtimestamp(row.at / 1000, UTC).replace(microsecond=row.at % 1000 * 1000 + place)


def _created(store: Store, row: AuditEntry) -> Event:
    name, _, version = row.subject.removeprefix("models:/").rpartition("/")
    # An MLflow client that names nobody: whoever ran the training is as good as known.
    named = bool(row.actor) and not row.actor.startswith(_NOBODY)
    return _version_event(store, row, CREATED, name, int(version), {"actor": row.actor} if named else {})


def _request_events(store: Store, row: AuditEntry) -> Iterator[Event]:
    name, _, alias = row.subject.removeprefix("models:/").rpartition("@")
    request = _found(lambda: store.get_request(row.after["request"]))
    facts = {"alias": alias, "request_id": row.after["request"], "evidence_digest": row.evidence_digest}
    if request is not None:
        facts |= {
            "generation": request.base_generation,
            "kind": request.kind,
            "policy": request.policy,
            "gates": {result.gate: result.passed for result in request.evidence},
        }
    for kind in _kinds_of_request(row):
        told = facts | {"actor": row.actor, "reason": "" if kind == REQUESTED else row.reason}
        yield _version_event(store, row, kind, name, int(row.after["version"]), told, request)


def _kinds_of_request(row: AuditEntry) -> Iterator[str]:
    verdict = _VERDICTS.get(row.after.get("status", ""))
    if row.action == "request-created":
        yield REQUESTED
    elif row.action in _OF_CLOSED_REQUESTS:
        yield _OF_CLOSED_REQUESTS[row.action]
    # An approval of several that are needed decides nothing yet.
    if verdict is not None:
        yield verdict


def _version_event(  # noqa: PLR0917
    store: Store,
    row: AuditEntry,
    kind: str,
    name: str,
    version: int,
    facts: Mapping[str, Any],
    request: PromotionRequest | None = None,
) -> Event:
    related, payload = _origin(store, name, version)
    if request is not None and request.flow_run_id:
        related.append(_related(f"prefect.flow-run.{request.flow_run_id}", "promotion", "promotion"))
    resource = _version_resource(name, version) | {"prefect-ml.kind": _kind(store, name)}
    if "alias" in facts:
        resource["prefect-ml.alias"] = facts["alias"]
    told = {**payload, **facts}
    return _event(row, kind, resource, related, told | {"actor": told["actor"] or row.actor})


def _alias_event(store: Store, row: AuditEntry, kind: str) -> Event:
    name, _, alias = row.subject.removeprefix("models:/").rpartition("@")
    # An alias that was deleted is told with the version that it was on.
    version = int(row.after.get("version") or row.before.get("version") or 0)
    related, payload = _origin(store, name, version)
    resource = {
        "prefect.resource.id": f"prefect-ml.alias.{name}.{alias}",
        "prefect.resource.name": f"{name}@{alias}",
        "prefect-ml.kind": _kind(store, name),
        "prefect-ml.model": name,
        "prefect-ml.alias": alias,
        "prefect-ml.version": str(version),
    }
    facts = {
        "alias": alias,
        "generation": row.after.get("generation", row.before.get("generation")),
        "previous_version": row.before.get("version"),
        "request_id": row.after.get("request"),
        "actor": row.actor,
        "reason": row.reason,
    }
    related = [_version_resource(name, version) | {"prefect.resource.role": "model-version"}, *related]
    return _event(row, kind, resource, related, payload | facts)


def _origin(store: Store, name: str, number: int) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """What is related to a version, and what is known of it."""
    version: ModelVersion | None = _found(lambda: store.get_model_version(name, number))
    run_id = None if version is None else version.run_id
    run: Run | None = _found(lambda: store.get_run(run_id)) if run_id else None
    told: Mapping[str, str] = {} if run is None else run.tags
    used = () if run is None else [each.dataset for each in run.inputs][:_MOST_DATASETS]
    related = [
        _related(f"prefect.flow-run.{told.get(tags.FLOW_RUN, '')}", "flow-run", told.get(tags.FLOW_NAME, "")),
        _related(f"prefect.deployment.{told.get(tags.DEPLOYMENT, '')}", "deployment", ""),
        _related(f"prefect-ml.run.{run_id or ''}", "run", "" if run is None else run.name),
        *(_related(f"prefect-ml.dataset.{each.digest}", "dataset", each.name) for each in used),
    ]
    payload = {
        "name": name,
        "version": number,
        "run_id": run_id,
        "flow_run_id": told.get(tags.FLOW_RUN),
        "artifact_digest": "" if version is None else version.artifact_digest,
        "environment_digest": told.get(tags.ENVIRONMENT, ""),
        "commit": told.get(tags.COMMIT, ""),
        "datasets": [{"name": each.name, "digest": each.digest} for each in used],
        "actor": "" if run is None else run.user_id,
    }
    return [each for each in related if not each["prefect.resource.id"].endswith(".")], payload


def _kind(store: Store, name: str) -> str:
    model = _found(lambda: store.get_registered_model(name))
    return "prompt" if model is not None and model.tags.get(PROMPT_TAG) == "true" else "model"


def _found(look: Callable[[], T]) -> T | None:
    try:
        return look()
    except NotFoundError:
        return None


def _version_resource(name: str, version: int) -> dict[str, str]:
    return {
        "prefect.resource.id": f"prefect-ml.model-version.{name}.{version}",
        "prefect.resource.name": f"{name} version {version}",
        "prefect-ml.model": name,
        "prefect-ml.version": str(version),
    }


def _related(resource: str, role: str, name: str) -> dict[str, str]:
    named = {"prefect.resource.name": name} if name else {}
    return {"prefect.resource.id": resource, **named, "prefect.resource.role": role}


def _event(
    row: AuditEntry, kind: str, resource: dict[str, str], related: list[dict[str, str]], payload: dict[str, Any]
) -> Event:
    return Event.model_validate(
        {
            "id": uuid.uuid5(_NAMESPACE, f"{row.hash}/{kind}"),
            "occurred": _occurred(row, kind),
            "event": kind,
            "resource": resource,
            "related": related,
            "payload": payload | {"audit_sequence": row.sequence},
        }
    )
