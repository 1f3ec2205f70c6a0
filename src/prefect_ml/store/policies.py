"""Policies, each version kept, and what they protect: the one place that says whether an alias or stage may move."""

from __future__ import annotations

import copy
import fnmatch
import functools
from shlex import quote
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, func, insert, select

from prefect_ml.errors import NotFoundError, ProtectedError
from prefect_ml.store.audit import record
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.names import check_text
from prefect_ml.store.origin import here
from prefect_ml.store.policy_content import checked, content_of, read_policy, same, weaker
from prefect_ml.store.registry_names import check_version, check_words
from prefect_ml.store.registry_rows import RegistryRows
from prefect_ml.store.registry_tables import aliases, model_versions, policies, registered_models
from prefect_ml.store.rows import now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Select

    from prefect_ml.entities import Policy

# Of what a policy's change weakens, so many are named.
_MAX_TOLD = 20

# Each change of the registry asks for the policies in force: what a row says is read once.
_known = functools.lru_cache(maxsize=1000)(read_policy)


class PolicyRows(RegistryRows):
    def save_policy(self, policy: Policy, *, actor: str, reason: str = "") -> Policy:
        asked = checked(policy)
        check_words("The actor", actor)
        check_words("The reason", reason)
        content = canonical(f"The policy {policy.name!r}", content_of(asked))

        def work(connection: Connection) -> Policy:
            before = in_force(connection)
            current = next((policy for policy in before if policy.name == asked.name), None)
            version = current.version + 1 if current else 1
            saved = read_policy(asked.name, version, content, now(), actor or here().who)
            if current and same(current, saved):
                return current
            _refuse_taking_over(connection, before, current, saved)
            weakened = _weakened(connection, before, current, saved)
            if weakened and not reason.strip():
                raise ProtectedError(
                    f"The new version of the policy {saved.name!r} would {', '.join(weakened)}. "
                    "Give a reason; it is kept in the audit log."
                )
            values = {"name": saved.name, "version": version, "content": content}
            connection.execute(insert(policies).values(saved_at=saved.saved_at, saved_by=saved.saved_by, **values))
            record(
                connection,
                "policy-saved",
                f"policies:/{saved.name}",
                actor=saved.saved_by,
                reason=reason,
                before={"version": current.version} if current else {},
                after={
                    "version": version,
                    "digest": digest(content),
                    "weakened": weakened,
                    "saved_at": saved.saved_at,
                },
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
            return copy.deepcopy(in_force(connection))

    def policy_for(self, name: str, alias: str, *, stages: Sequence[str] = ()) -> Policy | None:
        with self.database.read() as connection:
            return copy.deepcopy(judging(in_force(connection), name, alias, stages))


def find_policy(connection: Connection, name: str, version: int | None) -> Policy:
    """A version of a policy, the newest by default."""
    query = select(policies).where(policies.c.name == name)
    if version is not None:
        query = query.where(policies.c.version == check_version(version))
    row = connection.execute(query.order_by(policies.c.version.desc()).limit(1)).first()
    if row is None:
        which = "" if version is None else f" version {version}"
        raise NotFoundError(f"There is no policy {name!r}{which}; see them with: prefect-ml policies list")
    return read_policy(*row)


def in_force(connection: Connection) -> list[Policy]:
    """The newest version of every policy, by name; shared, so nobody changes what is in them."""
    return [_known(*row) for row in connection.execute(_IN_FORCE)]


def _in_force() -> Select[Any]:
    newest = select(policies.c.name, func.max(policies.c.version).label("version")).group_by(policies.c.name)
    latest = newest.subquery()
    joined = and_(policies.c.name == latest.c.name, policies.c.version == latest.c.version)
    return select(policies).join(latest, joined).order_by(policies.c.name)


_IN_FORCE = _in_force()


def protecting_alias(found: Iterable[Policy], name: str, alias: str) -> Policy | None:
    """The first policy that protects an alias of a model."""
    return next((p for p in found if alias in p.aliases and _covers(p, name)), None)


def protecting_stage(found: Iterable[Policy], name: str, stage: str) -> Policy | None:
    """The first policy that protects a stage of a model."""
    return next((p for p in found if stage in p.stages and _covers(p, name)), None)


def judging(found: Sequence[Policy], name: str, alias: str, stages: Iterable[str] = ()) -> Policy | None:
    """The policy that judges a move: the one that protects the alias, else that of the first protected stage.

    So a version enters a stage of a policy that names no alias with any alias that no other policy protects.

    Args:
        found: the policies in force.
        name: the model.
        alias: that would move.
        stages: that versions would enter or leave with it.
    """
    protecting = (protecting_stage(found, name, stage) for stage in stages)
    return protecting_alias(found, name, alias) or next((policy for policy in protecting if policy), None)


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
    ask = f"Request a promotion: prefect-ml promote {quote(name)} {version or 'VERSION'} --alias"
    for each in alias:
        if policy := protecting_alias(found, name, each):
            raise ProtectedError(
                f"The alias '{each}' of model {name!r} is protected by policy {policy.name!r}. {ask} {quote(each)}"
            )
    for each in stage:
        if policy := protecting_stage(found, name, each):
            raise ProtectedError(
                f"The stage '{each}' of model {name!r} is protected by policy {policy.name!r}. "
                f"{ask} {quote(next(iter(policy.aliases), 'ALIAS'))} --stage {each}"
            )


def _covers(policy: Policy, name: str) -> bool:
    return fnmatch.fnmatchcase(name, policy.model_pattern)


def _weakened(connection: Connection, before: Sequence[Policy], current: Policy | None, saved: Policy) -> list[str]:
    """What saving a policy in the place of its current version takes from set aliases and used stages, in words."""
    after = sorted([*(policy for policy in before if policy is not current), saved], key=lambda p: p.name)
    changed = [saved] if current is None else [current, saved]
    models = registered_models.c
    joined = models.id == aliases.c.model
    set_aliases = select(models.name, aliases.c.alias).join_from(aliases, registered_models, joined)
    joined = models.id == model_versions.c.model
    used = select(models.name, model_versions.c.stage).join_from(model_versions, registered_models, joined).distinct()
    words = []
    for name, alias in connection.execute(set_aliases.order_by(models.name, aliases.c.alias)):
        if protecting_alias(changed, name, alias):
            old, new = protecting_alias(before, name, alias), protecting_alias(after, name, alias)
            words.append(_loss(old, new, f"{name}@{alias}"))
    for name, stage in connection.execute(used.order_by(models.name, model_versions.c.stage)):
        if protecting_stage(changed, name, stage):
            old, new = protecting_stage(before, name, stage), protecting_stage(after, name, stage)
            words.append(_loss(old, new, f"the stage {stage} of {name}"))
    losses = [each for each in words if each]
    more = len(losses) - _MAX_TOLD
    return losses if more <= 0 else [*losses[:_MAX_TOLD], f"do as much to {more} more"]


def _refuse_taking_over(
    connection: Connection, before: Sequence[Policy], current: Policy | None, saved: Policy
) -> None:
    """Refuse a policy that would judge, for its name comes first, what another one protects already.

    Else whoever may save a policy could go around every other one, and no weaker rule would be seen in its versions.
    """
    after = sorted([*(policy for policy in before if policy is not current), saved], key=lambda p: p.name)
    protects = ((protecting_alias, "alias", saved.aliases), (protecting_stage, "stage", saved.stages))
    for name in connection.execute(select(registered_models.c.name)).scalars():
        for protecting, what, words in protects if _covers(saved, name) else ():
            for word in words:
                old = protecting(before, name, word)
                if old is not None and old.name != saved.name and protecting(after, name, word) is saved:
                    raise ProtectedError(
                        f"The {what} {word!r} of model {name!r} is protected by policy {old.name!r} already, and "
                        f"{saved.name!r} would take it over, since its name comes first. Change {old.name!r}, or leave "
                        f"the {what} out of {saved.name!r}."
                    )


def _loss(old: Policy | None, new: Policy | None, what: str) -> str:
    """What `what` loses when the policy that protects it changes; nothing when it does not."""
    if old is None or old is new:
        return ""
    if new is None:
        return f"take protection from {what}"
    return f"weaken the protection of {what}" if weaker(old, new) else ""
