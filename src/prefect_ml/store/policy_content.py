"""What a policy says, as it is kept: written, read back, checked, and compared with what it said before."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect_ml.entities import Policy, Stage
from prefect_ml.errors import InvalidInputError, InvalidNameError
from prefect_ml.store.names import check_text
from prefect_ml.store.registry_names import (
    MAX_ACTOR,
    MAX_MODEL_NAME,
    check_alias,
    check_stage,
    check_tag_key,
    check_tags,
    check_words,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_APPROVALS = 100
ANYONE = "*"
ON_DECAY = ("nothing", "rollback", "remove")
_MAX_NAME = 2 * MAX_MODEL_NAME
_GIVEN = ("name", "version", "saved_at", "saved_by")
_SAID = {each.name: each for each in dataclasses.fields(Policy) if each.name not in _GIVEN}
_LISTS = ("aliases", "stages", "gates", "approvers", "emergency", "notify")
# The first release wrote all of these and can read no other word.
_ALWAYS = ("model_pattern", "aliases", "stages", "gates", "approvals", "approvers", "four_eyes", "expires_after")


def content_of(policy: Policy) -> dict[str, Any]:
    """What is kept of a policy: words that came later only where they say something, so that old readers do."""
    said = {name: getattr(policy, name) for name in _SAID}
    return {name: value for name, value in said.items() if name in _ALWAYS or value != _SAID[name].default}


def read_policy(name: str, version: int, content: str, saved_at: int, saved_by: str) -> Policy:
    """A policy as it was kept; words of a later release are left out."""
    kept = {key: value for key, value in json.loads(content).items() if key in _SAID}
    listed = {key: tuple(kept[key]) for key in _LISTS if key in kept}
    return Policy(name=name, version=version, saved_at=saved_at, saved_by=saved_by, **kept | listed)


def same(old: Policy, new: Policy) -> bool:
    """Whether two policies say the same."""
    return all(getattr(old, name) == getattr(new, name) for name in _SAID)


def weaker(old: Policy, new: Policy) -> bool:
    """Whether one policy asks for less than another did, in any respect."""
    return (
        new.approvals < old.approvals
        or (old.four_eyes and not new.four_eyes)
        or bool(old.approvers and not (new.approvers and set(new.approvers) <= set(old.approvers)))
        or any(gate not in new.gates for gate in old.gates)
        or new.expires_after > old.expires_after
        or _bound(new.approval_valid_for) > _bound(old.approval_valid_for)
        or _bound(new.evidence_valid_for) > _bound(old.evidence_valid_for)
        or _seconds(new.canary) < _seconds(old.canary)
        or _seconds(new.soak) < _seconds(old.soak)
        or (ANYONE not in old.emergency and not set(new.emergency) <= set(old.emergency))
    )


def checked(policy: Policy) -> Policy:
    """A policy that can be kept and met; what its gates mean is the registry's business.

    Raises:
        InvalidInputError: it can not; the message names the field.
    """
    for what, text in (("name", policy.name), ("model pattern", policy.model_pattern)):
        if not check_text(f"The {what} of a policy", text).strip() or len(text) > _MAX_NAME:
            raise InvalidNameError(f"The {what} of a policy has 1 to {_MAX_NAME} characters, got {text[:60]!r}.")
    if type(policy.approvals) is not int or not 0 <= policy.approvals <= MAX_APPROVALS:
        raise InvalidInputError(f"A policy asks for 0 to {MAX_APPROVALS} approvals, got {policy.approvals!r}.")
    if not all(isinstance(gate, Mapping) for gate in policy.gates):
        raise InvalidInputError(f"Each gate of a policy is a mapping with a name, got {policy.gates!r}.")
    gates = [gate.get("name") for gate in policy.gates]
    if not all(isinstance(gate, str) and gate for gate in gates) or len(set(gates)) != len(gates):
        raise InvalidInputError(f"Each gate of a policy needs a name of its own, got {gates}.")
    if Stage.NONE in (stages := tuple(check_stage(stage) for stage in policy.stages)):
        raise InvalidInputError("The stage 'None' cannot be protected; name Staging, Production or Archived.")
    if policy.on_decay not in ON_DECAY:
        raise InvalidInputError(f"on_decay is one of {', '.join(ON_DECAY)}, got {policy.on_decay!r}.")
    aliases = tuple(check_alias(alias) for alias in policy.aliases)
    made = dataclasses.replace(
        policy,
        aliases=aliases,
        stages=tuple(stage.value for stage in stages),
        gates=tuple(dict(gate) for gate in policy.gates),
        approvers=tuple(check_words("An approver", who, MAX_ACTOR, needed=True) for who in policy.approvers),
        four_eyes=bool(policy.four_eyes),
        expires_after=_number("expires_after", policy.expires_after, above=True),
        approval_valid_for=_number("approval_valid_for", policy.approval_valid_for),
        evidence_valid_for=_number("evidence_valid_for", policy.evidence_valid_for),
        canary=_known("canary", policy.canary, {"alias": check_alias, "seconds": _trial}),
        soak=_known("soak", policy.soak, {"seconds": _trial}),
        on_rejection=_rejection(policy.on_rejection),
        emergency=tuple(check_words("Who may act in an emergency", who, needed=True) for who in policy.emergency),
        notify=tuple(check_words("A notification block", block, needed=True) for block in policy.notify),
    )
    moved = [*([made.canary["alias"]] if made.canary else []), *(made.on_rejection or {}).get("drop_aliases", ())]
    if held := next((alias for alias in moved if alias in aliases), None):
        raise InvalidInputError(
            f"The policy {policy.name!r} protects the alias {held!r}, so neither a canary nor a rejection may move it; "
            "name another alias."
        )
    return made


def _bound(seconds: float) -> float:
    return seconds or math.inf


def _seconds(trial: Mapping[str, Any] | None) -> float:
    return trial["seconds"] if trial else 0.0


def _number(what: str, value: Any, *, above: bool = False) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf or (above and not value):
        raise InvalidInputError(f"{what} is a number of seconds{' above' if above else ', at least'} 0, got {value!r}.")
    return float(value)


def _trial(value: Any) -> float:
    return _number("seconds", value, above=True)


def _known(what: str, given: Any, checks: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any] | None:
    """A mapping with exactly the keys that there are checks for."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or set(given) != set(checks):
        raise InvalidInputError(f"{what} is a mapping of {' and '.join(checks)}, got {given!r}.")
    return {key: check(given[key]) for key, check in checks.items()}


def _rejection(given: Any) -> dict[str, Any] | None:
    whole = {"tags": {}, "drop_aliases": (), **given} if isinstance(given, Mapping) else given
    return _known("on_rejection", whole, {"tags": _tags, "drop_aliases": _aliases})


def _tags(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"The tags of on_rejection are a mapping of texts, got {value!r}.")
    return check_tags({check_tag_key(key): each for key, each in value.items()})


def _aliases(value: Sequence[Any]) -> list[str]:
    if isinstance(value, str):
        raise InvalidInputError(f"drop_aliases is a list of aliases, got {value!r}.")
    return [check_alias(alias) for alias in value]
