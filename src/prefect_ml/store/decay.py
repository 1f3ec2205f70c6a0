"""A champion that fails the gates of its policy by now: recorded, and demoted where the policy in force says so."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, func, select

from prefect_ml.entities import Decay
from prefect_ml.errors import InvalidInputError, NotFoundError, PromotionError
from prefect_ml.store.aliases import current_alias, drop_alias
from prefect_ml.store.audit import record
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.names import check_text
from prefect_ml.store.policies import in_force, protecting_alias
from prefect_ml.store.registry_names import check_words
from prefect_ml.store.registry_rows import RegistryRows, find_model, find_version
from prefect_ml.store.registry_tables import alias_moves, audit
from prefect_ml.store.requests import alias_subject
from prefect_ml.store.rollbacks import carry_back, check_way_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.entities import GateResult

_ACTION = "decayed"


class DecayRows(RegistryRows):
    def record_decay(
        self,
        name: str,
        alias: str,
        *,
        generation: int,
        evidence: Sequence[GateResult],
        actor: str,
        reason: str,
        previous_intact: bool = True,
    ) -> Decay:
        """See `PromotionStore.record_decay`.

        Raises:
            PromotionError: no policy protects the alias.
            InvalidInputError: no gate failed, or no reason is given.
            NotFoundError: there is no such model.
        """
        check_words("The actor", actor, needed=True)
        check_words("The reason of a demotion", reason, needed=True)
        check_text("The name of an alias", alias)
        document = canonical("The evidence", [dataclasses.asdict(result) for result in evidence])
        gates = {result.gate: result.passed is True for result in evidence}
        if all(gates.values()):
            raise InvalidInputError(f"No gate failed, so @{alias} of {name!r} has not decayed.")

        def work(connection: Connection) -> Decay:
            current = current_alias(connection, find_model(connection, name).id, alias)
            if current is None or current.generation != generation:
                return Decay.MOVED_MEANWHILE
            policy = protecting_alias(in_force(connection), name, alias)
            if policy is None:
                raise PromotionError(
                    f"No policy protects the alias {alias!r} of model {name!r}, so none says what decay leads to; "
                    "move it by hand."
                )
            done = Decay(policy.on_decay)
            if done is Decay.ROLLED_BACK and not (previous_intact and _may_go_back(connection, name, current)):
                done = Decay.NOTHING_BEFORE
            record(
                connection,
                _ACTION,
                alias_subject(name, alias),
                actor=actor,
                reason=reason,
                before={"version": current.version, "generation": current.generation},
                after={"done": done, "gates": gates, "policy": policy.name, "policy_version": policy.version},
                evidence_digest=digest(document),
            )
            if done is Decay.ROLLED_BACK:
                carry_back(connection, name, current, policy, actor=actor, reason=reason)
            elif done is Decay.REMOVED:
                drop_alias(connection, name, current, actor=actor, reason=reason)
            return done

        return self.change(work)


def _may_go_back(connection: Connection, name: str, current: Row[Any]) -> bool:
    """Whether the version before was approved, and did not decay itself when it held the alias last."""
    target = current.previous_version
    if target is None:
        return False
    try:
        check_way_back(connection, name, current.alias, find_version(connection, name, target))
    except (NotFoundError, PromotionError):
        return False
    of = alias_moves.c
    held = select(func.max(of.generation)).where(
        of.name == name, of.alias == current.alias, of.version == target, of.generation < current.generation
    )
    last = {"version": target, "generation": connection.execute(held).scalar()}
    decayed = select(audit.c.sequence).where(
        audit.c.subject == alias_subject(name, current.alias),
        audit.c.action == _ACTION,
        audit.c.before == canonical("The audit row", last),
    )
    return connection.execute(decayed).first() is None
