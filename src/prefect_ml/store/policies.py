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
            found = [current for current in in_force(connection) if current.name == checked.name]
            if found and _content(found[0]) == _content(_read(checked.name, 0, content, 0, "")):
                return found[0]
            version = found[0].version + 1 if found else 1
            lost = _unprotected(connection, found[0], checked) if found else []
            if lost and not reason.strip():
                raise ProtectedError(
                    f"The new version of the policy {checked.name!r} would take protection from {', '.join(lost)}. "
                    "Give a reason; it is kept in the audit log."
                )
            at = now()
            values = {"name": checked.name, "version": version, "content": content}
            connection.execute(insert(policies).values(saved_at=at, saved_by=actor, **values))
            record(
                connection,
                "policy-saved",
                f"policies:/{checked.name}",
                actor=actor,
                reason=reason,
                before={"version": found[0].version} if found else {},
                after={"version": version, "digest": digest(content), "unprotected": lost},
            )
            return _read(checked.name, version, content, at, actor)

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


def _unprotected(connection: Connection, old: Policy, new: Policy) -> list[str]:
    """The set aliases and used stages that the old version protects and, with the new one, nothing would."""
    others = [policy for policy in in_force(connection) if policy.name != old.name] + [new]
    models, set_aliases = registered_models.c, select(registered_models.c.name, aliases.c.alias)
    set_aliases = set_aliases.join_from(aliases, registered_models, models.id == aliases.c.model)
    used = select(models.name, model_versions.c.stage).distinct()
    used = used.join_from(model_versions, registered_models, models.id == model_versions.c.model)
    lost = [
        f"{name}@{alias}"
        for name, alias in connection.execute(set_aliases.order_by(models.name, aliases.c.alias))
        if protecting_alias([old], name, alias) and not protecting_alias(others, name, alias)
    ]
    return lost + [
        f"the stage {stage} of {name}"
        for name, stage in connection.execute(used.order_by(models.name, model_versions.c.stage))
        if protecting_stage([old], name, stage) and not protecting_stage(others, name, stage)
    ]


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
