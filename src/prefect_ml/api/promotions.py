"""Promotions: asking, deciding, moving an alias and moving it back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prefect_ml.api.here import fresh_store, registry
from prefect_ml.entities import Alias, PromotionRequest
from prefect_ml.errors import ProtectedError
from prefect_ml.store import open_store
from prefect_ml.tracking import capture

if TYPE_CHECKING:
    from datetime import datetime

    from prefect_ml.registry.policy import PromotionPolicy

logger = logging.getLogger(__name__)


def request_promotion(
    name: str,
    version: int,
    alias: str = "champion",
    *,
    requester: str | None = None,
    key: str | None = None,
    stage: str | None = None,
    policy: str | PromotionPolicy | None = None,
) -> PromotionRequest:
    """Evaluate the gates and ask for an alias; see `prefect_ml.registry.promotion.request_promotion`.

    Args:
        name: the registered model.
        version: the version that asks.
        alias: the alias to move.
        requester: who asks; the user of this process by default.
        key: makes the call idempotent.
        stage: a stage that the version enters with the move.
        policy: for an alias that no policy protects yet.
    """
    request: PromotionRequest = registry().request_promotion(
        fresh_store(),
        name,
        version,
        alias,
        requester=requester or capture.user(),
        key=key,
        stage=stage,
        policy=policy,
    )
    return request


def approve(request_id: str, *, actor: str | None = None, reason: str = "") -> PromotionRequest:
    """Approve a promotion request, as the user of this process by default.

    A flow run that waits for it goes on and moves the alias; without one, `promote` does.
    """
    return _decide(request_id, approve=True, actor=actor, reason=reason)


def reject(request_id: str, *, actor: str | None = None, reason: str) -> PromotionRequest:
    """Reject a promotion request, as the user of this process by default; a flow run that waits for it ends."""
    return _decide(request_id, approve=False, actor=actor, reason=reason)


def promote(request_id: str, *, actor: str | None = None) -> Alias:
    """Move the alias of an approved request, after verifying the artifact once more; idempotent."""
    moved: Alias = registry().move(open_store(), request_id, actor=actor or capture.user())
    return moved


def request_rollback(
    name: str, alias: str = "champion", *, reason: str, requester: str | None = None, key: str | None = None
) -> PromotionRequest:
    """Ask to move a protected alias back; see `prefect_ml.registry.promotion.request_rollback`.

    It is decided on like a promotion (`approve`, `reject`), and carried out by `promote`.

    Args:
        name: the registered model.
        alias: the alias to move back.
        reason: why; those who decide see it.
        requester: who asks; the user of this process by default.
        key: makes the call idempotent.
    """
    request: PromotionRequest = registry().request_rollback(
        open_store(), name, alias, requester=requester or capture.user(), reason=reason, key=key
    )
    return request


def rollback(
    name: str, alias: str = "champion", *, reason: str, actor: str | None = None, emergency: bool = False
) -> Alias:
    """Move an alias back to its previous version at once; a protected one only in an emergency.

    Args:
        name: the registered model.
        alias: the alias to move back.
        reason: why; kept in the audit log.
        actor: who does it; the user of this process by default.
        emergency: go back without approvals, where the emergency clause of the policy that protects the alias names
            the actor: loudly, as `emergency-rollback` in the audit log.

    Raises:
        ProtectedError: a policy protects the alias, and this is no emergency, or its clause does not name the actor.
        PromotionError: there is no previous version.
    """
    from prefect_ml.registry import protection  # noqa: PLC0415 - only those who use it pay for its import

    store, who = open_store(), actor or capture.user()
    if not emergency and protection.is_protected(store, name, alias):
        raise ProtectedError(
            f"@{alias} of {name!r} is protected: ask with `request_rollback`, and have it approved. In an emergency, "
            "those whom its policy's emergency clause names give emergency=True."
        )
    moved: Alias = registry().rollback(store, name, alias, actor=who, reason=reason)
    if emergency:
        logger.error(
            "EMERGENCY: @%s of %s went back to version %d without approval, by %s.", alias, name, moved.version, who
        )
    return moved


def get_alias(name: str, alias: str = "champion", *, at: datetime | int | None = None) -> Alias:
    """Where an alias points now, or pointed at a time; `NotFoundError` when it does, or did, not.

    Args:
        name: the registered model.
        alias: the alias.
        at: see `prefect_ml.registry.history.alias_at`; now by default.
    """
    if at is None:
        return open_store().get_alias(name, alias)
    from prefect_ml.registry import history  # noqa: PLC0415 - only those who use it pay for its import

    return history.alias_at(open_store(), name, alias, at)


def _decide(request_id: str, *, approve: bool, actor: str | None, reason: str) -> PromotionRequest:
    who = actor or capture.user()
    decided: PromotionRequest = registry().decide(
        open_store(), request_id, approve=approve, actor=who, reason=reason, channel="python"
    )
    if decided.flow_run_id is not None:
        from prefect_ml.flowruns import waiting  # noqa: PLC0415 - only those who use it pay for Prefect's import

        if problem := waiting.tell_waiting(decided).problem:
            logger.warning("%s", problem)
    return decided
