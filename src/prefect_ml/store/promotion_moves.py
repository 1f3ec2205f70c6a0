"""Carrying out an approved promotion, and rolling one back: the two ways in which a protected alias moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select

from prefect_ml.entities import Alias, RequestStatus, Stage
from prefect_ml.errors import NotFoundError, PromotionError, StaleRequestError
from prefect_ml.store.aliases import current_alias, existing_alias, move_alias, record_move
from prefect_ml.store.audit_proof import refuse_unproven
from prefect_ml.store.canonical import digest
from prefect_ml.store.names import check_text
from prefect_ml.store.policies import in_force, protecting_alias, protecting_stage
from prefect_ml.store.registry_names import check_words
from prefect_ml.store.registry_rows import RegistryRows, find_version
from prefect_ml.store.registry_tables import alias_moves
from prefect_ml.store.requests import close_request, find_request, overdue, set_status
from prefect_ml.store.rows import now
from prefect_ml.store.stages import ACTIVE, enter_stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect_ml.entities import Policy


class PromotionMoveRows(RegistryRows):
    def promote(self, request_id: str, *, artifact_digest: str, actor: str) -> Alias:
        check_words("The actor", actor)
        check_text("The digest", artifact_digest)

        def work(connection: Connection) -> Alias | StaleRequestError:
            row = find_request(connection, request_id)
            if row.status == RequestStatus.PROMOTED:
                return _as_moved(connection, request_id)
            if overdue(row, now()):
                close_request(connection, row, RequestStatus.EXPIRED, "its time is over", actor)
                return _stale(row, RequestStatus.EXPIRED, "its time is over")
            _refuse_unapproved(row)
            if why := next(_changes(connection, row, artifact_digest), ""):
                close_request(connection, row, RequestStatus.SUPERSEDED, why, actor)
                return _stale(row, RequestStatus.SUPERSEDED, why)
            refuse_unproven(connection, row)
            return _carry_out(connection, row, actor)

        result = self.change(work)
        if isinstance(result, StaleRequestError):  # raised only now, when the request's new state is committed
            raise result
        return result

    def rollback(self, name: str, alias: str, *, actor: str, reason: str) -> Alias:
        """See `PromotionStore.rollback`.

        Raises:
            PromotionError: there is no previous version, or it was deleted.
            InvalidInputError: no reason is given.
        """
        check_words("The actor", actor)
        check_words("The reason of a rollback", reason, needed=True)
        check_text("The name of an alias", alias)

        def work(connection: Connection) -> Alias:
            current = existing_alias(connection, name, alias)
            if current.previous_version is None:
                raise PromotionError(
                    f"The alias {alias!r} of model {name!r} has no previous version to go back to; "
                    "promote another version."
                )
            try:
                find_version(connection, name, current.previous_version)
            except NotFoundError:
                raise PromotionError(
                    f"Version {current.previous_version} of model {name!r}, where the alias {alias!r} was before, "
                    "was deleted; promote another version."
                ) from None
            target = current.previous_version
            moved = move_alias(connection, name, current.model, alias, target, actor=actor, reason=reason)
            record_move(connection, "rolled-back", current, moved, reason=reason)
            return moved

        return self.change(work)


def _as_moved(connection: Connection, request_id: str) -> Alias:
    """The alias as the request moved it, wherever it is by now."""
    row = connection.execute(select(alias_moves).where(alias_moves.c.request_id == request_id)).one()
    return Alias(
        name=row.name,
        alias=row.alias,
        version=row.version,
        generation=row.generation,
        previous_version=row.previous_version,
        moved_at=row.moved_at,
        moved_by=row.moved_by,
        request_id=request_id,
    )


def _refuse_unapproved(row: Row[Any]) -> None:
    why = f" ({row.status_reason})" if row.status_reason else ""
    if row.status in (RequestStatus.SUPERSEDED, RequestStatus.EXPIRED):
        raise _stale(row, row.status, row.status_reason)
    if row.status != RequestStatus.APPROVED:
        raise PromotionError(
            f"The request {row.request_id} is {row.status}{why}; only an approved one moves its alias. "
            f"Approve it first: prefect-ml approve {row.request_id}"
            if row.status == RequestStatus.PENDING
            else f"The request {row.request_id} is {row.status}{why}; ask for the promotion again."
        )


def _changes(connection: Connection, row: Row[Any], artifact_digest: str) -> Iterator[str]:
    """What the request no longer matches, in words; nothing when it may be carried out."""
    try:
        version = find_version(connection, row.name, row.version)
    except NotFoundError:
        yield f"version {row.version} of {row.name!r} was deleted"
        return
    if not artifact_digest == version.artifact_digest == row.artifact_digest:
        yield "the artifact is not the one that was asked for"
    if digest(row.evidence) != row.evidence_digest:
        yield "the evidence was changed"
    found = in_force(connection)
    rules = protecting_alias(found, row.name, row.alias)
    if rules is not None and (rules.name, rules.version) != (row.policy, row.policy_version):
        yield f"the policy in force is version {rules.version} of {rules.name!r} now"
    if other := _other_stage_policy(found, row, version.stage):
        yield f"the policy {other.name!r} protects the stage now"
    current = current_alias(connection, version.model, row.alias)
    if current is None and row.base_generation:
        yield f"@{row.alias} was deleted meanwhile"
    if current is not None and current.generation != row.base_generation:
        by = f" by {current.moved_by}" if current.moved_by else ""
        yield (
            f"@{row.alias} was moved to version {current.version}{by} meanwhile (generation {current.generation}, "
            f"not {row.base_generation})"
        )


def _other_stage_policy(found: list[Policy], row: Row[Any], current_stage: str) -> Policy | None:
    """A policy other than the request's that protects a stage which the move would change."""
    own = next((policy for policy in found if policy.name == row.policy), None)
    for stage in (row.stage, current_stage) if row.stage else ():
        other = protecting_stage(found, row.name, stage)
        if other is not None and (own is None or stage not in own.stages):
            return other
    return None


def _carry_out(connection: Connection, row: Row[Any], actor: str) -> Alias:
    model = find_version(connection, row.name, row.version).model
    before = current_alias(connection, model, row.alias)
    reason = f"promotion request {row.request_id}"
    moved = move_alias(
        connection, row.name, model, row.alias, row.version, actor=actor, reason=reason, request_id=row.request_id
    )
    if row.stage:
        stage = Stage(row.stage)
        enter_stage(
            connection,
            row.name,
            model,
            row.version,
            stage,
            archive_existing=stage in ACTIVE,
            actor=actor,
            reason=reason,
        )
    why = f"moved to version {row.version}, generation {moved.generation}"
    set_status(connection, row.id, RequestStatus.PROMOTED, why)
    record_move(
        connection, "promoted", before, moved, reason=reason, evidence_digest=row.evidence_digest, stage=row.stage
    )
    return moved


def _stale(row: Row[Any], status: RequestStatus, why: str) -> StaleRequestError:
    return StaleRequestError(
        f"The request {row.request_id} to move @{row.alias} of {row.name!r} to version {row.version} is {status}: "
        f"{why}. Ask for the promotion again if it is still wanted."
    )
