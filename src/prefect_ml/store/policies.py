"""Policies, each version kept, and what they protect: the one place that says whether an alias or stage may move."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, func, insert, select

from prefect_ml.entities import Policy, Stage
from prefect_ml.errors import InvalidInputError, InvalidNameError, NotFoundError, ProtectedError
from prefect_ml.store.audit import record
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.names import check_text
from prefect_ml.store.registry_names import MAX_MODEL_NAME, check_alias, check_stage, check_version, check_words
from prefect_ml.store.registry_rows import RegistryRows
from prefect_ml.store.registry_tables import aliases, model_versions, policies, registered_models
from prefect_ml.store.rows import now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_APPROVALS = 100
_MAX_NAME = 2 * MAX_MODEL_NAME
_GIVEN = ("version", "saved_at", "saved_by")


class PolicyRows(RegistryRows):
    def save_policy(self, policy: Policy, *, actor: str, reason: str = "") -> Policy:
        checked = _checked(policy)
        check_words("The actor", actor)
        check_words("The reason", reason)
        content = canonical(f"The policy {policy.name!r}", _content(checked))

        def work(connection: Connection) -> Policy:
            before = in_force(connection)
            current = next((policy for policy in before if policy.name == checked.name), None)
            version = current.version + 1 if current else 1
            saved = _read(checked.name, version, content, now(), actor)
            if current and _content(current) == _content(saved):
                return current
            after = sorted([*(policy for policy in before if policy is not current), saved], key=lambda p: p.name)
            weakened = _weakened(connection, before, after)
            if weakened and not reason.strip():
                raise ProtectedError(
                    f"The new version of the policy {saved.name!r} would {', '.join(weakened)}. "
                    "Give a reason; it is kept in the audit log."
                )
            values = {"name": saved.name, "version": version, "content": content}
            connection.execute(insert(policies).values(saved_at=saved.saved_at, saved_by=actor, **values))
            record(
                connection,
                "policy-saved",
                f"policies:/{saved.name}",
                actor=actor,
                reason=reason,
                before={"version": current.version} if current else {},
                after={"version": version, "digest": digest(content), "weakened": weakened},
            )
            return saved

        return self.change(work)

    def get_policy(self, name: str, version: int | None = None) -> Policy:
        check_text("The name of a policy", name)
        with self.database.read() as connection:
            return find_policy(connection, name, version)

    def list_policies(self) -> Sequence[Policy]:
        """The newest version of each, by name."""
        with self.database.read() as connection:
            return in_force(connection)

    def policy_for(self, name: str, alias: str) -> Policy | None:
        with self.database.read() as connection:
            return protecting_alias(in_force(connection), name, alias)


def find_policy(connection: Connection, name: str, version: int | None) -> Policy:
    """A version of a policy, the newest by default."""
    query = select(policies).where(policies.c.name == name)
    if version is not None:
        query = query.where(policies.c.version == check_version(version))
    row = connection.execute(query.order_by(policies.c.version.desc()).limit(1)).first()
    if row is None:
        which = "" if version is None else f" version {version}"
        raise NotFoundError(f"There is no policy {name!r}{which}; see them with: prefect-ml policies list")
    return _read(*row)


def in_force(connection: Connection) -> list[Policy]:
    """The newest version of every policy, by name."""
    newest = select(policies.c.name, func.max(policies.c.version).label("version")).group_by(policies.c.name)
    latest = newest.subquery()
    same = and_(policies.c.name == latest.c.name, policies.c.version == latest.c.version)
    query = select(policies).join(latest, same).order_by(policies.c.name)
    return [_read(*row) for row in connection.execute(query)]


def protecting_alias(found: Iterable[Policy], name: str, alias: str) -> Policy | None:
    """The first policy that protects an alias of a model."""
    return next((p for p in found if alias in p.aliases and _covers(p, name)), None)


def protecting_stage(found: Iterable[Policy], name: str, stage: str) -> Policy | None:
    """The first policy that protects a stage of a model."""
    return next((p for p in found if stage in p.stages and _covers(p, name)), None)


def refuse_protected(
    connection: Connection, name: str, version: int | None, *, alias: Iterable[str] = (), stage: Iterable[str] = ()
) -> None:
    """Refuse a change that would move, drop or hide one of these aliases or stages of a model, if it is protected.

    Args:
        connection: of the transaction that makes the change.
        name: the model.
        version: the version that the change is about, for the message.
        alias: the aliases that it would move, drop or hide.
        stage: the stages that it would do this to.

    Raises:
        ProtectedError: one is protected; the message says how to ask.
    """
    found = in_force(connection)
    which = version or "VERSION"
    for each in alias:
        if policy := protecting_alias(found, name, each):
            raise ProtectedError(
                f"The alias '{each}' of model {name!r} is protected by policy {policy.name!r}. Request a promotion: "
                f"prefect-ml promote {name} {which} --alias {each}"
            )
    for each in stage:
        if policy := protecting_stage(found, name, each):
            raise ProtectedError(
                f"The stage '{each}' of model {name!r} is protected by policy {policy.name!r}. Request a promotion: "
                f"prefect-ml promote {name} {which} --alias {next(iter(policy.aliases), 'ALIAS')} --stage {each}"
            )


def _covers(policy: Policy, name: str) -> bool:
    return fnmatch.fnmatchcase(name, policy.model_pattern)


def _weakened(connection: Connection, before: Sequence[Policy], after: Sequence[Policy]) -> list[str]:
    """What a change of the policies takes from set aliases and used stages, in words."""
    models = registered_models.c
    joined = models.id == aliases.c.model
    set_aliases = select(models.name, aliases.c.alias).join_from(aliases, registered_models, joined)
    joined = models.id == model_versions.c.model
    used = select(models.name, model_versions.c.stage).join_from(model_versions, registered_models, joined).distinct()
    words = []
    for name, alias in connection.execute(set_aliases.order_by(models.name, aliases.c.alias)):
        old, new = protecting_alias(before, name, alias), protecting_alias(after, name, alias)
        words.append(_loss(old, new, f"{name}@{alias}"))
    for name, stage in connection.execute(used.order_by(models.name, model_versions.c.stage)):
        old, new = protecting_stage(before, name, stage), protecting_stage(after, name, stage)
        words.append(_loss(old, new, f"the stage {stage} of {name}"))
    return [each for each in words if each]


def _loss(old: Policy | None, new: Policy | None, what: str) -> str:
    """What `what` loses when the policy that protects it changes; nothing when it does not."""
    if old is None or old is new:
        return ""
    if new is None:
        return f"take protection from {what}"
    weaker = (
        new.approvals < old.approvals
        or (old.four_eyes and not new.four_eyes)
        or (old.approvers and not (new.approvers and set(new.approvers) <= set(old.approvers)))
        or any(gate not in new.gates for gate in old.gates)
    )
    return f"weaken the protection of {what}" if weaker else ""


def _content(policy: Policy) -> dict[str, Any]:
    return {
        field.name: getattr(policy, field.name)
        for field in dataclasses.fields(policy)
        if field.name not in ("name", *_GIVEN)
    }


def _read(name: str, version: int, content: str, saved_at: int, saved_by: str) -> Policy:
    values = json.loads(content)
    listed = {key: tuple(values[key]) for key in ("aliases", "stages", "gates", "approvers")}
    return Policy(name=name, version=version, saved_at=saved_at, saved_by=saved_by, **values | listed)


def _checked(policy: Policy) -> Policy:
    """A policy that can be kept and met; what its gates mean is the registry's business."""
    for what, text in (("name", policy.name), ("model pattern", policy.model_pattern)):
        if not check_text(f"The {what} of a policy", text).strip() or len(text) > _MAX_NAME:
            raise InvalidNameError(f"The {what} of a policy has 1 to {_MAX_NAME} characters, got {text[:60]!r}.")
    if type(policy.approvals) is not int or not 0 <= policy.approvals <= MAX_APPROVALS:
        raise InvalidInputError(f"A policy asks for 0 to {MAX_APPROVALS} approvals, got {policy.approvals!r}.")
    if not isinstance(policy.expires_after, int | float) or not 0 < policy.expires_after < math.inf:
        raise InvalidInputError(f"expires_after is a number of seconds above 0, got {policy.expires_after!r}.")
    gates = [gate.get("name") for gate in policy.gates]
    if len(set(gates)) != len(gates) or not all(isinstance(gate, str) and gate for gate in gates):
        raise InvalidInputError(f"Each gate of a policy needs a name of its own, got {gates}.")
    if Stage.NONE in (stages := tuple(check_stage(stage) for stage in policy.stages)):
        raise InvalidInputError("The stage 'None' cannot be protected; name Staging, Production or Archived.")
    return dataclasses.replace(
        policy,
        aliases=tuple(check_alias(alias) for alias in policy.aliases),
        stages=tuple(stage.value for stage in stages),
        approvers=tuple(check_words("An approver", who, needed=True) for who in policy.approvers),
        four_eyes=bool(policy.four_eyes),
        expires_after=float(policy.expires_after),
    )
