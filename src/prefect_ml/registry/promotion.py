"""A promotion, step by step: ask, decide, move, and back again.

Each step is one call that reads what is recorded and writes at most one transaction, so that it can be called again by
whoever was interrupted: a retried flow, a second process, a person who pressed twice.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_ml.entities import (
    Alias,
    Decision,
    GateResult,
    Policy,
    PromotionRequest,
    RecordedGate,
    RequestKind,
    RequestStatus,
)
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
from prefect_ml.registry.resolve import fetch, is_kept, resolve, settled
from prefect_ml.settings import Settings
from prefect_ml.store.contract import Store
from prefect_ml.store.evidence import spec_digest
from prefect_ml.store.origin import origin
from prefect_ml.store.registry_names import MAX_ACTOR, check_stage

__all__ = ["decide", "describe", "move", "request_promotion", "request_rollback", "rollback"]

logger = logging.getLogger(__name__)

# In the place of a digest, where files are not those that were uploaded, or are gone.
UNREADABLE = "changed since they were uploaded"
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
        key: makes the call idempotent: a second call returns the request of the first, without evaluating again. A
            gate that was judged by a call that came to no request is not judged again, as long as its specification,
            the files and the champion are the same.
        stage: a stage that the version enters with the move.
        policy: for an alias that no policy protects yet: the name of a stored one that covers it, or one to save;
            `default_policy` when None. Either way the alias is protected from now on, save where `stage` is protected
            by a policy that names no alias: that policy judges, and protects the stage alone.
        flow_run_id: the Prefect flow run that waits for the decision.
        settings: the settings of this process by default.
        judge: evaluates one gate; in this process by default.

    Raises:
        NotFoundError: there is no such model, version or policy.
        InvalidInputError: the policy does not cover the alias.
        ArtifactError: the files of a version without a digest cannot be read, so that it could be bound to them.
        CorruptArtifactError: the files are not those that were registered.
        StaleRequestError: the alias moved while the gates ran; ask again.
    """
    who = _words(requester, "who asks", MAX_ACTOR)
    key = key or uuid.uuid4().hex
    if (existing := store.get_request_by_key(key)) is not None:
        asked = {"name": name, "version": version, "alias": alias, "kind": RequestKind.PROMOTION}
        return _about(existing, **asked, stage=None if stage is None else check_stage(stage).value)
    # A version that another client made gets its digest now, so that the gates and the move are about the same files.
    cache = (settings or Settings()).cache_folder
    asked_for = settled(store, resolve(store, f"models:/{name}/{version}"), cache)
    digest = asked_for.digest
    if is_kept(asked_for, cache):  # gates look at the copy, which says nothing of what became of the files since
        _verified(store, name, alias, version)
    candidate = Candidate.of(store, name, version, alias, settings)
    stages = (check_stage(stage).value, candidate.subject.version.stage) if stage else ()
    judging, stored = _judging(store, name, alias, policy, stages)
    evidence = _judged(store, key, judging, candidate, judge)
    _still_at(store, name, alias, candidate.generation)
    if not stored:
        judging = store.save_policy(judging, actor=who, reason=f"first promotion to {name}@{alias}")
    return store.create_request(
        key=key,
        name=name,
        version=version,
        alias=alias,
        stage=stage,
        requester=who,
        artifact_digest=digest,
        evidence=evidence,
        policy=judging.name,
        policy_version=judging.version,
        flow_run_id=flow_run_id,
    )


def _judging(
    store: Store, name: str, alias: str, wanted: str | PromotionPolicy | None, stages: Sequence[str]
) -> tuple[Policy, bool]:
    """The policy that judges the move, and whether it is stored; else it is the wanted or the default one.

    Raises:
        InvalidInputError: the wanted policy does not cover the alias, or another one protects it.
        NotFoundError: there is no policy of the wanted name.
    """
    wanted_name = wanted.name if isinstance(wanted, PromotionPolicy) else wanted
    in_force = store.policy_for(name, alias, stages=stages)
    if in_force is not None:
        if wanted_name not in (None, in_force.name):
            raise InvalidInputError(
                f"@{alias} of {name!r} is protected by the policy {in_force.name!r}, not by {wanted_name!r}; "
                "leave the policy out, or change that one."
            )
        return in_force, True
    if isinstance(wanted, str):
        found = store.get_policy(wanted)
        raise InvalidInputError(
            f"The policy {wanted!r} covers {list(found.aliases)} of models like {found.model_pattern!r}, "
            f"not @{alias} of {name!r}; name one that does, or none."
        )
    chosen = wanted or default_policy(name, alias)
    if not chosen.covers(name, alias):
        raise InvalidInputError(f"The policy {chosen.name!r} does not cover @{alias} of {name!r}; widen it.")
    return chosen.to_entity(), False


def _judged(
    store: Store, key: str, policy: Policy, candidate: Candidate, judge: Callable[[Gate], GateResult] | None
) -> list[GateResult]:
    """The results of all gates, each recorded as soon as it is there; one that was recorded is not judged again."""
    version = candidate.subject.version
    recorded = {each.result.gate: each for each in store.get_gate_results(key)}
    results = []
    for gate, specification in zip(PromotionPolicy.from_entity(policy).gates, policy.gates, strict=True):
        about: dict[str, Any] = {
            "name": version.name,
            "version": version.version,
            "alias": candidate.alias,
            "spec_digest": spec_digest(specification),
            "artifact_digest": version.artifact_digest,
        }
        known = recorded.get(gate.name)
        if known is None or known.champion_generation != candidate.generation or not _says(known, about):
            result = judge(gate) if judge else evaluate_gate(gate, candidate)
            seen = result.evidence.get("champion_generation", candidate.generation)
            known = store.record_gate_result(RecordedGate(key=key, champion_generation=seen, result=result, **about))
        results.append(known.result)
    return results


def _says(known: object, about: Mapping[str, Any]) -> bool:
    return all(getattr(known, what) == value for what, value in about.items())


def _about(request: PromotionRequest, **asked: object) -> PromotionRequest:
    """The request, which must be about what is asked."""
    if not _says(request, asked):
        raise InvalidInputError(
            f"The key {request.key!r} names the request {request.request_id}, the {request.kind} of {request.name!r} "
            f"version {request.version} to @{request.alias}; ask for something else under a key of its own."
        )
    return request


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
        actor=_words(actor, "who decides", MAX_ACTOR),
        approve=approve,
        reason=reason.strip(),
        decided_at=time.time_ns() // 1_000_000,
        channel=channel,
    )
    with origin(**({"channel": channel} if channel else {})):
        return store.decide(request_id, decision)


def move(store: Store, request_id: str, *, actor: str) -> Alias:
    """Move the alias of an approved request, after computing the digest of the artifact anew from where it is kept.

    A request of the kind "rollback" is carried out by this too: its alias goes back, and the stages with it. Called
    again, it returns the alias as it was moved.

    Raises:
        PromotionError: the request is not approved.
        StaleRequestError: artifact, evidence or alias changed since the request, the artifact is gone, or another
            request moved the alias: it is superseded; or the approval is older than the policy lets it count: it is
            expired.
        NotFoundError: there is no such request.
    """
    request = store.get_request(request_id)
    if request.status is RequestStatus.PENDING:
        raise PromotionError(f"The request {request_id} is PENDING; only an approved one moves its alias.")
    if request.status is not RequestStatus.APPROVED:  # it stays so, and the store says what came of it
        return store.promote(request_id, artifact_digest=request.artifact_digest, actor=actor)
    try:
        digest = stored_digest(store, request.name, request.version)
    except (CorruptArtifactError, NotFoundError) as error:  # no digest, so that the store closes the request
        logger.warning("%s", error)
        digest = UNREADABLE
    return store.promote(request_id, artifact_digest=digest, actor=actor)


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
    """Move an alias back to its previous version at once; its files are verified first.

    Anyone may do so with an unprotected alias. A protected one goes back at once only for those whom its policy's
    emergency clause names, or because a gate failed in the soak; everyone else asks by `request_rollback`.

    Args:
        store: where the registry is.
        name: the registered model.
        alias: the alias.
        actor: who rolls back.
        reason: why.
        key: makes the call idempotent: again, it returns the alias as the first call moved it. Give it together with
            `expected_generation` wherever the call may be repeated.
        expected_generation: the alias's generation that the rollback takes back; the current one by default.
        failed_soak: the id of the request whose move is taken back since a gate failed in its policy's soak; the
            results are recorded under `store.evidence.trial_key(request.key, "soak")`.

    Raises:
        ProtectedError: a policy protects the alias, and its emergency clause does not name the actor.
        InvalidInputError: no actor or no reason.
        PromotionError: there is no previous version, or it was never approved while the alias was protected.
        StaleRequestError: the alias is not at the expected generation.
        CorruptArtifactError: its files changed since they were registered; promote another version instead.
    """
    said = {"actor": _words(actor, "who rolls back", MAX_ACTOR), "reason": _words(reason, "why it is rolled back")}
    held = store.get_alias(name, alias)
    expected = held.generation if expected_generation is None and key is None else expected_generation
    digest = None
    if expected in (None, held.generation) and held.previous_version is not None:
        digest = _verified(store, name, alias, held.previous_version)
    return store.rollback(
        name, alias, **said, key=key, expected_generation=expected, artifact_digest=digest, failed_soak=failed_soak
    )


def request_rollback(
    store: Store,
    name: str,
    alias: str,
    *,
    requester: str,
    reason: str,
    key: str | None = None,
    flow_run_id: str | None = None,
) -> PromotionRequest:
    """Ask to move a protected alias back to its previous version, whose files are verified first.

    The request is decided on like a promotion (`decide`), by the same approvers, and carried out by `move`; it is
    APPROVED from the beginning where the policy asks for no approvals. No gate is judged: only a version goes back to
    the alias that was approved for it.

    Args:
        store: where the registry is.
        name: the registered model.
        alias: the alias.
        requester: who asks.
        reason: why; those who decide see it.
        key: makes the call idempotent.
        flow_run_id: the Prefect flow run that waits for the decision.

    Raises:
        InvalidInputError: no requester or no reason, or the key names a request about something else.
        PromotionError: no policy protects the alias, so that `rollback` moves it; or there is no previous version, or
            it was never approved for the alias.
        CorruptArtifactError: its files changed since they were registered; promote another version instead.
        NotFoundError: there is no such model or alias.
    """
    who, why = _words(requester, "who asks", MAX_ACTOR), _words(reason, "why it is rolled back")
    key = key or uuid.uuid4().hex
    if (existing := store.get_request_by_key(key)) is not None:
        return _about(existing, name=name, alias=alias, kind=RequestKind.ROLLBACK)
    held = store.get_alias(name, alias)
    if held.previous_version is None:
        raise PromotionError(
            f"The alias {alias!r} of model {name!r} has no previous version to go back to; promote another version."
        )
    previous = store.get_model_version(name, held.previous_version)
    stages = (store.get_model_version(name, held.version).stage, previous.stage)
    policy = store.policy_for(name, alias, stages=stages)
    if policy is None:
        raise PromotionError(f"No policy protects @{alias} of {name!r}, so nobody needs to be asked; roll it back.")
    digest = _verified(store, name, alias, previous.version)
    verified = {"artifact_digest": digest, "version": previous.version, "champion_generation": held.generation}
    return store.create_request(
        key=key,
        name=name,
        version=previous.version,
        alias=alias,
        stage=None,
        requester=who,
        artifact_digest=previous.artifact_digest,
        evidence=[GateResult("files", passed=True, summary="they are those that were registered", evidence=verified)],
        policy=policy.name,
        policy_version=policy.version,
        flow_run_id=flow_run_id,
        kind=RequestKind.ROLLBACK,
        reason=why,
    )


def _verified(store: Store, name: str, alias: str, version: int) -> str:
    """The digest of a version's files, which must be the registered one where one is."""
    registered = store.get_model_version(name, version).artifact_digest
    digest = stored_digest(store, name, version)
    if registered not in ("", digest):
        raise CorruptArtifactError(
            f"The files of version {version} of {name!r} are not those that were registered; "
            f"@{alias} stays where it is. Promote another version."
        )
    return digest


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


def _words(text: str, what: str, limit: int = _MAX_WORDS) -> str:
    stripped = text.strip()
    if not stripped:
        raise InvalidInputError(f"Say {what}: it is kept with the promotion and cannot be empty.")
    if len(stripped) > limit:
        raise InvalidInputError(f"The text that says {what} has {len(stripped)} characters; at most {limit} are kept.")
    return stripped
