"""Going back: an alias to the version before, and the stages that the move had set, in one transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select

from prefect_ml.entities import Alias, RequestKind, RequestStatus, Stage
from prefect_ml.errors import (
    CorruptArtifactError,
    InvalidInputError,
    NotFoundError,
    PromotionError,
    ProtectedError,
    StaleRequestError,
)
from prefect_ml.store.aliases import Stages, existing_alias, move_alias
from prefect_ml.store.audit_proof import refuse_unmoved, refuse_unproven
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.evidence import recorded_gates, trial_key
from prefect_ml.store.names import check_text
from prefect_ml.store.policies import find_policy, in_force, judging, protecting_stage
from prefect_ml.store.policy_content import ANYONE
from prefect_ml.store.registry_names import check_words
from prefect_ml.store.registry_rows import RegistryRows, find_version
from prefect_ml.store.registry_tables import alias_moves, model_versions, promotion_requests
from prefect_ml.store.requests import find_request, supersede_others
from prefect_ml.store.stages import enter_stage

if TYPE_CHECKING:
    from prefect_ml.entities import Policy

ROLLED_BACK = "rolled-back"
EMERGENCY = "emergency-rollback"


class RollbackRows(RegistryRows):
    def rollback(
        self,
        name: str,
        alias: str,
        *,
        actor: str,
        reason: str,
        key: str | None = None,
        expected_generation: int | None = None,
        artifact_digest: str | None = None,
        failed_soak: str | None = None,
    ) -> Alias:
        """See `PromotionStore.rollback`.

        Raises:
            ProtectedError: a policy protects the alias, and its emergency clause does not name the actor.
            PromotionError: there is no previous version, or it was deleted, or never approved while the alias was
                protected; or no gate failed in the soak.
            StaleRequestError: the alias is not at the expected generation.
            CorruptArtifactError: the digest is not the one that the version was registered with.
            InvalidInputError: no reason is given, or the key names a move of another alias.
        """
        check_words("The actor", actor)
        check_words("The reason of a rollback", reason, needed=True)
        check_text("The name of an alias", alias)
        if key is not None:
            check_words("The key", key, needed=True)

        def work(connection: Connection) -> Alias:
            if key is not None and (done := _moved_by_key(connection, name, alias, key)) is not None:
                return done
            current = existing_alias(connection, name, alias)
            if expected_generation not in (None, current.generation):
                raise StaleRequestError(
                    f"@{alias} of {name!r} is at generation {current.generation} (version {current.version}), not at "
                    f"{expected_generation}; look where it is now, and roll back again if that is still wanted."
                )
            target = _target(connection, name, current)
            if artifact_digest is not None and target.artifact_digest not in ("", artifact_digest):
                raise CorruptArtifactError(
                    f"The files of version {target.version} of {name!r} have the digest {artifact_digest}, but "
                    f"{target.artifact_digest} was registered; @{alias} stays where it is. Promote another version."
                )
            rules = judging(in_force(connection), name, alias, _touched(connection, name, current))
            action, evidence_digest = ROLLED_BACK, ""
            if rules is not None and failed_soak is not None:
                evidence_digest = _failed_soak(connection, current, failed_soak)
                _refuse_never_approved(connection, name, alias, target)
            elif rules is not None:
                _refuse_without_emergency(rules, name, alias, actor)
                action = EMERGENCY
            said = {"actor": actor, "reason": reason, "action": action, "evidence_digest": evidence_digest}
            return carry_back(connection, name, current, rules, key=key, **said)

        return self.change(work)


def stages_of_the_way_back(connection: Connection, name: str, alias: str) -> list[str]:
    """The stages that a rollback would change."""
    return _touched(connection, name, existing_alias(connection, name, alias))


def check_way_back(connection: Connection, name: str, alias: str, target: Row[Any]) -> None:
    """Refuse to ask for a rollback to another version than the one before, or to one that was never approved.

    Raises:
        NotFoundError: the alias is not set.
        PromotionError: it was at another version before, or this one was never approved.
    """
    current = existing_alias(connection, name, alias)
    before = _target(connection, name, current)
    if before.version != target.version:
        raise PromotionError(
            f"The alias {alias!r} of model {name!r} was at version {before.version} before, not at {target.version}; "
            "it goes back one step at a time. Promote another version."
        )
    _refuse_never_approved(connection, name, alias, target)


def carry_back(
    connection: Connection,
    name: str,
    current: Row[Any],
    rules: Policy | None,
    *,
    actor: str,
    reason: str,
    action: str = ROLLED_BACK,
    evidence_digest: str = "",
    key: str | None = None,
    request_id: str | None = None,
) -> Alias:
    """Move an alias back, restore the stages that its move had set, and close the open requests about it.

    Whoever calls it has made sure that the alias may go back.

    Args:
        connection: of the transaction.
        name: of the model.
        current: the row of the alias.
        rules: the policy that judged it; a stage that another one protects by now stays as it is.
        actor: who moves it.
        reason: why.
        action: of the audit row.
        evidence_digest: of what it rests on.
        key: names the move, so that it is made once.
        request_id: of the request that is carried out.
    """
    target = _target(connection, name, current).version
    refuse_unmoved(connection, name, current)
    found = in_force(connection)
    stages: Stages = {}
    for version, (now, before) in _to_restore(connection, name, current).items():
        others = (protecting_stage(found, name, stage) for stage in (now, before))
        if all(policy is None or (rules is not None and policy.name == rules.name) for policy in others):
            stages |= enter_stage(
                connection, name, current.model, int(version), Stage(before),
                archive_existing=False, actor=actor, reason=reason,
            )  # fmt: skip
    moved = move_alias(
        connection, name, current.model, current.alias, target,
        action=action, actor=actor, reason=reason, evidence_digest=evidence_digest,
        request_id=request_id, key=key, stages=stages,
    )  # fmt: skip
    supersede_others(connection, moved)
    return moved


def _target(connection: Connection, name: str, current: Row[Any]) -> Row[Any]:
    """The row of the version before."""
    if current.previous_version is None:
        raise PromotionError(
            f"The alias {current.alias!r} of model {name!r} has no previous version to go back to; "
            "promote another version."
        )
    try:
        return find_version(connection, name, current.previous_version)
    except NotFoundError:
        raise PromotionError(
            f"Version {current.previous_version} of model {name!r}, where the alias {current.alias!r} was before, "
            "was deleted; promote another version."
        ) from None


def _to_restore(connection: Connection, name: str, current: Row[Any]) -> Stages:
    """The stages that the alias's way to its version changed and that are still so, by version: now and before."""
    moved = alias_moves.c
    query = select(moved.version, moved.stages).where(moved.name == name, moved.alias == current.alias)
    query = query.where(moved.generation <= current.generation).order_by(moved.generation.desc())
    changed: Stages = {}
    for row in connection.execute(query):
        if row.version != current.version:
            break
        for version, (before, after) in json.loads(row.stages or "{}").items():
            changed[version] = [changed.get(version, (after,))[0], before]
    versions = model_versions.c
    numbers = [int(version) for version in changed]
    rows = select(versions.version, versions.stage).where(
        versions.model == current.model, versions.version.in_(numbers)
    )
    now = {str(row.version): row.stage for row in connection.execute(rows)}
    return {version: [at, to] for version, (at, to) in changed.items() if now.get(version) == at != to}


def _touched(connection: Connection, name: str, current: Row[Any]) -> list[str]:
    return sorted({stage for pair in _to_restore(connection, name, current).values() for stage in pair})


def _refuse_never_approved(connection: Connection, name: str, alias: str, target: Row[Any]) -> None:
    """Under protection, an alias goes back only to what was approved for it as it is, by the audit log too."""
    asked = promotion_requests.c
    query = select(promotion_requests).where(asked.name == name, asked.alias == alias, asked.version == target.version)
    query = query.where(asked.kind == RequestKind.PROMOTION, asked.status == RequestStatus.PROMOTED)
    query = query.where(asked.artifact_digest == target.artifact_digest).order_by(asked.id.desc()).limit(1)
    if (row := connection.execute(query).first()) is not None:
        refuse_unproven(connection, row, RequestStatus.PROMOTED)
    else:
        raise PromotionError(
            f"Version {target.version} of model {name!r} was never approved for the protected alias {alias!r}, so the "
            f"alias does not go back to it. Request a promotion: prefect-ml promote {name} {target.version} "
            f"--alias {alias}"
        )


def _refuse_without_emergency(rules: Policy, name: str, alias: str, actor: str) -> None:
    check_words("The actor of an emergency rollback", actor, needed=True)
    if ANYONE not in rules.emergency and actor not in rules.emergency:
        raise ProtectedError(
            f"The alias {alias!r} of model {name!r} is protected by policy {rules.name!r}, whose emergency clause does "
            f"not name {actor!r}. Request the rollback, and have it approved: "
            f"prefect-ml rollback {name} --alias {alias} --reason TEXT"
        )


def _failed_soak(connection: Connection, current: Row[Any], request_id: str) -> str:
    """The digest of the evidence that a gate failed in the soak of the request that moved the alias where it is."""
    row = find_request(connection, request_id)
    soak = find_policy(connection, row.policy, row.policy_version).soak
    if current.request_id != request_id or row.kind != RequestKind.PROMOTION or soak is None:
        raise PromotionError(
            f"The request {request_id} did not move @{current.alias} to where it is, or its policy wants no soak; "
            "request the rollback."
        )
    judged = recorded_gates(connection, trial_key(row.key, "soak"))
    failed = [
        {"gate": each.result.gate, "summary": each.result.summary, "evidence": each.result.evidence, "at": each.at}
        for each in judged
        if not each.result.passed and (each.version, each.artifact_digest) == (row.version, row.artifact_digest)
    ]
    if not failed:
        raise PromotionError(f"No gate failed in the soak of the request {request_id}; request the rollback.")
    return digest(canonical("The evidence", failed))


def _moved_by_key(connection: Connection, name: str, alias: str, key: str) -> Alias | None:
    """The alias as the move of a key moved it, wherever it is by now."""
    row = connection.execute(select(alias_moves).where(alias_moves.c.key == key)).first()
    if row is None:
        return None
    if (row.name, row.alias) != (name, alias):
        raise InvalidInputError(
            f"The key {key!r} names a move of @{row.alias} of {row.name!r}, not of @{alias} of {name!r}; "
            "roll back under a key of its own."
        )
    return as_moved(row)


def as_moved(row: Row[Any]) -> Alias:
    """The alias as a row of its history moved it."""
    return Alias(
        name=row.name,
        alias=row.alias,
        version=row.version,
        generation=row.generation,
        previous_version=row.previous_version,
        moved_at=row.moved_at,
        moved_by=row.moved_by,
        request_id=row.request_id,
    )
