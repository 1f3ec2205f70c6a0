"""The registry's changes as events of Prefect, which automations can trigger on; sent after the commit, as hints only.

The record is the store's: Prefect keeps events for days, and one that is lost changes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

from prefect.events import Event

from prefect_ml.entities import Alias, ModelVersion, PromotionRequest, RequestStatus, Run
from prefect_ml.errors import NotFoundError
from prefect_ml.flowruns.background import api_url, post_soon
from prefect_ml.flowruns.harmless import harmless
from prefect_ml.lineage import tags
from prefect_ml.store.contract import Store

P = ParamSpec("P")

CREATED = "prefect-ml.model-version.created"
REQUESTED = "prefect-ml.promotion.requested"
APPROVED = "prefect-ml.promotion.approved"
REJECTED = "prefect-ml.promotion.rejected"
MOVED = "prefect-ml.alias.moved"
ROLLED_BACK = "prefect-ml.alias.rolled-back"

# Prefect's server takes 100 related resources by default.
_MOST_DATASETS = 50


def _where_in_use(tell: Callable[P, None]) -> Callable[P, None]:
    """Tell where Prefect is in use; what cannot be told is a warning."""

    @functools.wraps(tell)
    def told(*args: P.args, **kwargs: P.kwargs) -> None:
        if api_url() is not None:
            with harmless("Prefect's automations are not told of a change of the registry"):
                tell(*args, **kwargs)

    return told


@_where_in_use
def version_created(store: Store, version: ModelVersion) -> None:
    """Tell that a version was registered."""
    _emit(CREATED, _version_resource(version), *_origin(store, version))


@_where_in_use
def promotion_requested(store: Store, request: PromotionRequest) -> None:
    """Tell that a promotion was asked for, and how it was decided when gates or the policy did so at once."""
    _emit_request(REQUESTED, store, request, actor=request.requester)
    _tell_verdict(store, request, actor=request.requester, reason=request.status_reason)


@_where_in_use
def promotion_decided(store: Store, request: PromotionRequest) -> None:
    """Tell that people decided a request; one that waits for more of them is not decided."""
    last = request.decisions[-1] if request.decisions else None
    actor, reason = (last.actor, last.reason) if last else (request.requester, request.status_reason)
    _tell_verdict(store, request, actor=actor, reason=reason)


@_where_in_use
def alias_moved(store: Store, alias: Alias, *, reason: str = "", rolled_back: bool = False) -> None:
    """Tell where an alias points now."""
    version = store.get_model_version(alias.name, alias.version)
    related, payload = _origin(store, version)
    resource = _named(
        f"prefect-ml.alias.{alias.name}.{alias.alias}",
        f"{alias.name}@{alias.alias}",
        {"prefect-ml.model": alias.name, "prefect-ml.alias": alias.alias},
    )
    facts = {
        "alias": alias.alias,
        "generation": alias.generation,
        "previous_version": alias.previous_version,
        "request_id": alias.request_id,
        "actor": alias.moved_by,
        "reason": reason,
    }
    related = [{**_version_resource(version), "prefect.resource.role": "model-version"}, *related]
    _emit(ROLLED_BACK if rolled_back else MOVED, resource, related, payload | facts)


def _tell_verdict(store: Store, request: PromotionRequest, *, actor: str, reason: str) -> None:
    kind = {RequestStatus.APPROVED: APPROVED, RequestStatus.REJECTED: REJECTED}.get(request.status)
    if kind is not None:
        _emit_request(kind, store, request, actor=actor, reason=reason)


def _emit_request(kind: str, store: Store, request: PromotionRequest, *, actor: str, reason: str = "") -> None:
    version = store.get_model_version(request.name, request.version)
    related, payload = _origin(store, version)
    if request.flow_run_id:
        related.append(_related(f"prefect.flow-run.{request.flow_run_id}", "promotion", "promotion"))
    facts = {
        "alias": request.alias,
        "generation": request.base_generation,
        "request_id": request.request_id,
        "policy": request.policy,
        "gates": {result.gate: result.passed for result in request.evidence},
        "evidence_digest": request.evidence_digest,
        "actor": actor,
        "reason": reason,
    }
    _emit(kind, _version_resource(version), related, payload | facts)


def _origin(store: Store, version: ModelVersion) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """What is related to a version, and what is known of it."""
    run = _run_of(store, version)
    told: Mapping[str, str] = {} if run is None else run.tags
    used = () if run is None else [each.dataset for each in run.inputs][:_MOST_DATASETS]
    related = [
        _related(f"prefect.flow-run.{told.get(tags.FLOW_RUN, '')}", "flow-run", told.get(tags.FLOW_NAME, "")),
        _related(f"prefect.deployment.{told.get(tags.DEPLOYMENT, '')}", "deployment", ""),
        _related(f"prefect-ml.run.{version.run_id or ''}", "run", "" if run is None else run.name),
        *(_related(f"prefect-ml.dataset.{each.digest}", "dataset", each.name) for each in used),
    ]
    payload = {
        "name": version.name,
        "version": version.version,
        "run_id": version.run_id,
        "flow_run_id": told.get(tags.FLOW_RUN),
        "artifact_digest": version.artifact_digest,
        "environment_digest": told.get(tags.ENVIRONMENT, ""),
        "commit": told.get(tags.COMMIT, ""),
        "datasets": [{"name": each.name, "digest": each.digest} for each in used],
        "actor": "" if run is None else run.user_id,
    }
    return [each for each in related if not each["prefect.resource.id"].endswith(".")], payload


def _run_of(store: Store, version: ModelVersion) -> Run | None:
    if not version.run_id:
        return None
    try:
        return store.get_run(version.run_id)
    except NotFoundError:
        return None


def _version_resource(version: ModelVersion) -> dict[str, str]:
    labels = {"prefect-ml.model": version.name, "prefect-ml.version": str(version.version)}
    return _named(
        f"prefect-ml.model-version.{version.name}.{version.version}",
        f"{version.name} version {version.version}",
        labels,
    )


def _related(resource: str, role: str, name: str) -> dict[str, str]:
    return _named(resource, name, {"prefect.resource.role": role})


def _named(resource: str, name: str, labels: Mapping[str, str]) -> dict[str, str]:
    named = {"prefect.resource.name": name} if name else {}
    return {"prefect.resource.id": resource, **named, **labels}


def _emit(kind: str, resource: dict[str, str], related: Sequence[dict[str, str]], payload: dict[str, Any]) -> None:
    event = Event.model_validate({"event": kind, "resource": resource, "related": related, "payload": payload})
    post_soon("/events", [event.model_dump(mode="json")])
