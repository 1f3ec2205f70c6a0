"""A promotion, step by step: ask, decide, move, and back again.

Each step is one call that reads what is recorded and writes at most one transaction, so that it can be called again by
whoever was interrupted: a retried flow, a second process, a person who pressed twice.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from prefect_ml.entities import Alias, Decision, GateResult, Policy, PromotionRequest, RequestStatus
from prefect_ml.errors import (
    CorruptArtifactError,
    InvalidInputError,
    NotFoundError,
    PromotionError,
    StaleRequestError,
)
from prefect_ml.registry.description import describe
from prefect_ml.registry.gate import Candidate
from prefect_ml.registry.gates import Gate, evaluate_gate
from prefect_ml.registry.policy import PromotionPolicy, default_policy
from prefect_ml.registry.resolve import fetch, resolve, settled
from prefect_ml.settings import Settings
from prefect_ml.store.contract import Store
from prefect_ml.store.origin import origin

__all__ = ["decide", "describe", "move", "request_promotion", "rollback"]

_MAX_WORDS = 2000


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
    settings: Settings | None = None,
    judge: Callable[[Gate], GateResult] | None = None,
) -> PromotionRequest:
    """Evaluate the gates and record the request, bound to the artifact, the evidence and where the alias is now.

    Args:
        store: where the registry is.
        name: the registered model.
        version: the version that asks for the alias.
        alias: the alias to move.
        requester: who asks.
        key: makes the call idempotent: a second call returns the request of the first, without evaluating again.
        stage: a stage that the version enters with the move.
        policy: for an alias that no policy protects yet: the name of a stored one that covers it, or one to save;
            `default_policy` when None. Either way the alias is protected from now on.
        flow_run_id: the Prefect flow run that waits for the decision.
        settings: the settings of this process by default.
        judge: evaluates one gate; in this process by default.

    Raises:
        NotFoundError: there is no such model, version or policy.
        InvalidInputError: the policy does not cover the alias.
        ArtifactError: the files of a version without a digest cannot be read, so that it could be bound to them.
        StaleRequestError: the alias moved while the gates ran; ask again.
    """
    key = key or uuid.uuid4().hex
    if (existing := store.get_request_by_key(key)) is not None:
        return existing
    # A version that another client made gets its digest now, so that the gates and the move are about the same files.
    digest = settled(store, resolve(store, f"models:/{name}/{version}"), (settings or Settings()).cache_folder).digest
    candidate = Candidate.of(store, name, version, alias, settings)
    in_force = policy_in_force(store, name, alias, policy, actor=requester)
    rules = PromotionPolicy.from_entity(in_force)
    evidence = [judge(gate) if judge else evaluate_gate(gate, candidate) for gate in rules.gates]
    _still_at(store, name, alias, candidate.generation)
    return store.create_request(
        key=key,
        name=name,
        version=version,
        alias=alias,
        stage=stage,
        requester=_words(requester, "who asks"),
        artifact_digest=digest,
        evidence=evidence,
        policy=in_force.name,
        policy_version=in_force.version,
        flow_run_id=flow_run_id,
    )


def policy_in_force(store: Store, name: str, alias: str, wanted: str | PromotionPolicy | None, *, actor: str) -> Policy:
    """The policy that protects the alias; when none does, the wanted or the default one is saved and does from now on.

    Raises:
        InvalidInputError: the wanted policy does not cover the alias, or another one protects it.
        NotFoundError: there is no policy of the wanted name.
    """
    wanted_name = wanted.name if isinstance(wanted, PromotionPolicy) else wanted
    if (in_force := store.policy_for(name, alias)) is None:
        if isinstance(wanted, str):
            found = store.get_policy(wanted)
            raise InvalidInputError(
                f"The policy {wanted!r} covers {list(found.aliases)} of models like {found.model_pattern!r}, "
                f"not @{alias} of {name!r}; name one that does, or none."
            )
        chosen = wanted or default_policy(name, alias)
        if not chosen.covers(name, alias):
            raise InvalidInputError(f"The policy {chosen.name!r} does not cover @{alias} of {name!r}; widen it.")
        store.save_policy(chosen.to_entity(), actor=actor, reason=f"first promotion to {name}@{alias}")
        in_force = store.policy_for(name, alias)
    if in_force is None or wanted_name not in (None, in_force.name):
        found_name = None if in_force is None else in_force.name
        raise InvalidInputError(
            f"@{alias} of {name!r} is protected by the policy {found_name!r}, not by {wanted_name!r}; "
            "leave the policy out, or change that one."
        )
    return in_force


def decide(
    store: Store, request_id: str, *, approve: bool, actor: str, reason: str = "", channel: str = ""
) -> PromotionRequest:
    """Record one person's decision; every way to decide (form, terminal, Python) ends here.

    Raises:
        InvalidInputError: no actor, or a rejection without a reason.
        NotAllowedError: the actor is no approver, or asked for the promotion under four eyes.
        PromotionError: the request is no longer pending.
    """
    if not approve:
        _words(reason, "why it is rejected")
    if len(reason) > _MAX_WORDS:
        raise InvalidInputError(f"The reason has {len(reason)} characters; at most {_MAX_WORDS} are kept.")
    decision = Decision(
        actor=_words(actor, "who decides"),
        approve=approve,
        reason=reason.strip(),
        decided_at=time.time_ns() // 1_000_000,
        channel=channel,
    )
    with origin(**({"channel": channel} if channel else {})):
        return store.decide(request_id, decision)


def move(store: Store, request_id: str, *, actor: str) -> Alias:
    """Move the alias of an approved request, after computing the digest of the artifact anew from where it is kept.

    Called again, it returns the alias as it was moved.

    Raises:
        PromotionError: the request is not approved.
        StaleRequestError: artifact, evidence or alias changed since the request; it is superseded.
        NotFoundError: the artifact is gone.
    """
    request = store.get_request(request_id)
    if request.status is RequestStatus.PROMOTED:
        return store.promote(request_id, artifact_digest=request.artifact_digest, actor=actor)
    if request.status is not RequestStatus.APPROVED:
        reason = f" ({request.status_reason})" if request.status_reason else ""
        raise PromotionError(
            f"The request {request_id} is {request.status}{reason}; only an approved one moves its alias."
        )
    _about_the_same_champion(request)
    digest = stored_digest(store, request.name, request.version)
    return store.promote(request_id, artifact_digest=digest, actor=actor)


def rollback(store: Store, name: str, alias: str, *, actor: str, reason: str) -> Alias:
    """Move the alias back to its previous version, whose files are verified first.

    Raises:
        InvalidInputError: no actor or no reason.
        PromotionError: there is no previous version.
        CorruptArtifactError: its files changed since they were registered; promote another version instead.
    """
    _words(reason, "why it is rolled back")
    previous = store.get_alias(name, alias).previous_version
    if previous is not None:
        registered = store.get_model_version(name, previous).artifact_digest
        if registered and stored_digest(store, name, previous) != registered:
            raise CorruptArtifactError(
                f"The files of version {previous} of {name!r} are not those that were registered; "
                f"@{alias} stays where it is. Promote another version."
            )
    return store.rollback(name, alias, actor=_words(actor, "who rolls back"), reason=reason.strip())


def stored_digest(store: Store, name: str, version: int) -> str:
    """The digest of a version's files as they are kept now, computed anew; no cache is asked."""
    found = resolve(store, f"models:/{name}/{version}")
    with tempfile.TemporaryDirectory(prefix="prefect-ml-") as scratch:
        copy = fetch(dataclasses.replace(found, digest=""), Path(scratch))
        return f"sha256:{copy.name}"


def _still_at(store: Store, name: str, alias: str, generation: int) -> None:
    try:
        now = store.get_alias(name, alias).generation
    except NotFoundError:
        now = 0
    if now != generation:
        raise StaleRequestError(f"@{alias} of {name!r} moved while the gates ran; ask for the promotion again.")


def _about_the_same_champion(request: PromotionRequest) -> None:
    """The gates ran a moment before the request was recorded; the champion that they saw must be the recorded one."""
    for result in request.evidence:
        seen = result.evidence.get("champion_generation", request.base_generation)
        if seen != request.base_generation:
            raise StaleRequestError(
                f"The gate {result.gate!r} compared with another champion than the one at the time of the request "
                f"{request.request_id}; ask for the promotion again."
            )


def _words(text: str, what: str) -> str:
    stripped = text.strip()
    if not stripped:
        raise InvalidInputError(f"Say {what}: it is kept with the promotion and cannot be empty.")
    if len(stripped) > _MAX_WORDS:
        raise InvalidInputError(
            f"The text that says {what} has {len(stripped)} characters; at most {_MAX_WORDS} are kept."
        )
    return stripped
