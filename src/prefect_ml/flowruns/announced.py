"""The steps of the registry, each told to Prefect soon after its commit, by what the audit log says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prefect_ml.entities import Alias, Endpoint, GateResult, ModelVersion, PromotionRequest, RequestStatus, Route
from prefect_ml.flowruns.lineage import model_registered
from prefect_ml.flowruns.telling import tell_soon
from prefect_ml.registry import promotion, register
from prefect_ml.registry.gates import Gate
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.store.contract import Store


def register_model(
    store: Store,
    source: str,
    name: str,
    *,
    run_id: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """See `prefect_ml.registry.register.register_model`."""
    version = register.register_model(store, source, name, run_id=run_id, description=description, tags=tags)
    model_registered(store, version)
    return version


def request_promotion(
    store: Store,
    name: str,
    version: int,
    alias: str,
    *,
    requester: str,
    key: str | None = None,
    stage: str | None = None,
    policy: str | PromotionPolicy | None = None,
    flow_run_id: str | None = None,
    judge: Callable[[Gate], GateResult] | None = None,
) -> PromotionRequest:
    """See `prefect_ml.registry.promotion.request_promotion`."""
    known = key is not None and store.get_request_by_key(key) is not None
    request = promotion.request_promotion(
        store, name, version, alias, requester=requester, key=key, stage=stage, policy=policy,
        flow_run_id=flow_run_id, judge=judge,
    )  # fmt: skip
    if not known:
        tell_soon(store)
    return request


def decide(
    store: Store, request_id: str, *, approve: bool, actor: str, reason: str = "", channel: str = ""
) -> PromotionRequest:
    """See `prefect_ml.registry.promotion.decide`."""
    before = store.get_request(request_id).status
    request = promotion.decide(store, request_id, approve=approve, actor=actor, reason=reason, channel=channel)
    if request.status is not before:
        tell_soon(store)
    return request


def move(store: Store, request_id: str, *, actor: str) -> Alias:
    """See `prefect_ml.registry.promotion.move`."""
    before = store.get_request(request_id).status
    alias = promotion.move(store, request_id, actor=actor)
    if before is not RequestStatus.PROMOTED:
        tell_soon(store)
    return alias


def rollback(
    store: Store,
    name: str,
    alias: str,
    *,
    actor: str,
    reason: str,
    key: str | None = None,
    expected_generation: int | None = None,
    failed_soak: str | None = None,
) -> Alias:
    """See `prefect_ml.registry.promotion.rollback`."""
    moved = promotion.rollback(
        store, name, alias, actor=actor, reason=reason, key=key, expected_generation=expected_generation,
        failed_soak=failed_soak,
    )  # fmt: skip
    tell_soon(store)
    return moved


def request_rollback(
    store: Store, name: str, alias: str, *, requester: str, reason: str, key: str | None = None,
    flow_run_id: str | None = None,
) -> PromotionRequest:  # fmt: skip
    """See `prefect_ml.registry.promotion.request_rollback`."""
    request = promotion.request_rollback(
        store, name, alias, requester=requester, reason=reason, key=key, flow_run_id=flow_run_id
    )
    tell_soon(store)
    return request


def change_endpoint(
    store: Store,
    name: str,
    routes: Sequence[Route],
    *,
    expected_revision: int,
    actor: str,
    reason: str,
    rollout: str = "",
    step: int = 0,
) -> Endpoint:
    """See `EndpointStore.change_endpoint`."""
    changed = store.change_endpoint(
        name, routes, expected_revision=expected_revision, actor=actor, reason=reason, rollout=rollout, step=step
    )
    tell_soon(store)
    return changed


def roll_back_endpoint(
    store: Store,
    name: str,
    *,
    to_revision: int,
    expected_revision: int,
    actor: str,
    reason: str,
    rollout: str = "",
    step: int = 0,
) -> Endpoint:
    """See `EndpointStore.roll_back_endpoint`."""
    back = store.roll_back_endpoint(
        name, to_revision=to_revision, expected_revision=expected_revision, actor=actor, reason=reason,
        rollout=rollout, step=step,
    )  # fmt: skip
    tell_soon(store)
    return back
