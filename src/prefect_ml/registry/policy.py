"""Promotion policies: which aliases are protected, and what a move of them needs."""

from __future__ import annotations

import fnmatch
import glob
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prefect_ml.entities import Policy, Stage
from prefect_ml.errors import InvalidInputError
from prefect_ml.registry.gate import Text
from prefect_ml.registry.gates import Gate, explain
from prefect_ml.registry.model_gates import Loads, SignaturePresent

WEEK = 7 * 24 * 3600.0
_YEAR = 366 * 24 * 3600.0
# A policy written by hand has a few dozen lines.
_MAX_YAML = 1 << 20


_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid")
Seconds = Annotated[float, Field(gt=0, le=_YEAR)]
Validity = Annotated[float, Field(ge=0, le=_YEAR)]
# The slug of a block's type, and the name of its document.
BlockName = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*/[^/\s]+$", max_length=250)]


class Canary(BaseModel):
    """A trial before the move.

    Attributes:
        alias: an alias that no policy protects; it points at the version meanwhile.
        seconds: how long; then the gates are judged again.
    """

    model_config = _STRICT

    alias: Text
    seconds: Seconds


class Soak(BaseModel):
    """A trial after the move.

    Attributes:
        seconds: after how long the gates are judged again; when one fails, the alias is rolled back.
    """

    model_config = _STRICT

    seconds: Seconds


class OnRejection(BaseModel):
    """What is done to a version that gates or people reject.

    Attributes:
        tags: what it is tagged with.
        drop_aliases: the aliases that are taken from it; none of them protected.
    """

    model_config = _STRICT

    tags: Mapping[Text, str] = {}
    drop_aliases: Annotated[tuple[Text, ...], Field(strict=False)] = ()


class PromotionPolicy(BaseModel):
    """A policy, valid by construction.

    Attributes:
        name: unique among policies.
        model_pattern: shell-style pattern over model names; `*` is every model.
        aliases: the aliases that it protects; they move only by an approved request.
        stages: the stages (Staging, Production, Archived) that it protects.
        gates: what is evaluated before anyone is asked; each with a name of its own.
        approvals: how many different people must approve; 0 lets the gates alone decide.
        approvers: who may decide; anyone when empty.
        four_eyes: whether the requester may not decide.
        expires_after: seconds that a request stays open, at most a year.
        approval_valid_for: seconds from the last needed approval within which the alias must move; 0 for as long as the
            request is open.
        evidence_valid_for: seconds that the results of gates may be old when the alias moves; 0 for no bound.
        canary: a trial on another alias before the move.
        soak: a trial after the move.
        on_rejection: what is done to a version that is rejected.
        emergency: who may roll back at once, without approvals, which is announced loudly; `*` is anyone.
        on_decay: what becomes of a protected alias whose version fails its gates later: "nothing", "rollback" to the
            version before, or "remove" the alias.
        notify: the notification blocks of Prefect that are told, such as "slack-webhook/oncall".
    """

    model_config = _STRICT

    name: Text
    model_pattern: Text = "*"
    aliases: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    stages: Annotated[tuple[Annotated[Stage, Field(strict=False)], ...], Field(strict=False)] = ()
    gates: Annotated[tuple[Gate, ...], Field(strict=False)] = ()
    approvals: Annotated[int, Field(ge=0, le=100)] = 1
    approvers: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    four_eyes: bool = False
    expires_after: Seconds = WEEK
    approval_valid_for: Validity = 0.0
    evidence_valid_for: Validity = 0.0
    canary: Canary | None = None
    soak: Soak | None = None
    on_rejection: OnRejection | None = None
    emergency: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    on_decay: Literal["nothing", "rollback", "remove"] = "nothing"
    notify: Annotated[tuple[BlockName, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _can_be_met(self) -> PromotionPolicy:
        if not self.aliases and not self.stages:
            raise ValueError("it protects nothing; name an alias or a stage")
        names = [gate.name for gate in self.gates]
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two gates are named {double[0]!r}; give each a name of its own")
        if self.approvers and self.approvals > len(set(self.approvers)):
            raise ValueError(f"{self.approvals} approvals can never come from {len(set(self.approvers))} approvers")
        if self.four_eyes and self.approvals == 0:
            raise ValueError("four_eyes needs at least one approval")
        if Stage.NONE in self.stages:
            raise ValueError("the stage 'None' cannot be protected; name Staging, Production or Archived")
        freed = [*([self.canary.alias] if self.canary else []), *(self.on_rejection or OnRejection()).drop_aliases]
        if held := next((alias for alias in freed if alias in self.aliases), None):
            raise ValueError(f"it protects the alias {held!r}, so neither a canary nor a rejection may move it")
        return self

    def covers(self, name: str, alias: str) -> bool:
        """Whether it protects this alias of this model."""
        return alias in self.aliases and fnmatch.fnmatchcase(name, self.model_pattern)

    def to_entity(self) -> Policy:
        """The policy as stores keep it; the store gives it its version."""
        return Policy(
            name=self.name,
            version=0,
            model_pattern=self.model_pattern,
            aliases=self.aliases,
            stages=tuple(stage.value for stage in self.stages),
            gates=tuple(gate.model_dump(mode="json", exclude_none=True) for gate in self.gates),
            approvals=self.approvals,
            approvers=self.approvers,
            four_eyes=self.four_eyes,
            expires_after=self.expires_after,
            approval_valid_for=self.approval_valid_for,
            evidence_valid_for=self.evidence_valid_for,
            canary=_mapping(self.canary),
            soak=_mapping(self.soak),
            on_rejection=_mapping(self.on_rejection),
            emergency=self.emergency,
            on_decay=self.on_decay,
            notify=self.notify,
        )

    @classmethod
    def from_entity(cls, policy: Policy) -> PromotionPolicy:
        """A stored policy, validated again.

        Raises:
            InvalidInputError: it was stored by other means and cannot be used.
        """
        data = {field: getattr(policy, field) for field in cls.model_fields}
        return cls._parsed({key: _listed(value) for key, value in data.items()}, f"The policy {policy.name!r}")

    def to_yaml(self) -> str:
        """The policy as YAML that `from_yaml` reads back to an equal one."""
        data = self.model_dump(mode="json", exclude={"gates"}, exclude_none=True)
        data["gates"] = [gate.model_dump(mode="json", exclude_none=True) for gate in self.gates]
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, text: str) -> PromotionPolicy:
        """Read a policy that a person wrote.

        Raises:
            InvalidInputError: it is no YAML mapping, or no usable policy; the message names the field.
        """
        if len(text) > _MAX_YAML:
            raise InvalidInputError(f"The policy has {len(text)} characters; at most {_MAX_YAML} are read.")
        try:
            data = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise InvalidInputError(f"The policy is no valid YAML: {error}") from error
        if not isinstance(data, dict):
            raise InvalidInputError("The policy must be a YAML mapping with at least `name` and `aliases`.")
        return cls._parsed(data, "The policy")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PromotionPolicy:
        """Read a policy from plain data.

        Raises:
            InvalidInputError: it is no usable policy; the message names the field.
        """
        return cls._parsed(dict(data), "The policy")

    @classmethod
    def _parsed(cls, data: object, what: str) -> PromotionPolicy:
        # Through JSON, where strict validation takes a list for a tuple but still no "1" for a 1.
        try:
            return cls.model_validate_json(json.dumps(data))
        except ValidationError as error:
            raise InvalidInputError(f"{what} cannot be used: {explain(error)}.") from error
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(
                f"{what} holds something that is no text, number, list or mapping: {error}."
            ) from error


def default_policy(name: str, alias: str) -> PromotionPolicy:
    """The policy that the first promotion of an unprotected alias saves, so that the alias is protected from then on.

    It covers this alias of this model alone: the model must load and replay its example, have a signature, and one
    person must approve.
    """
    return PromotionPolicy(
        name=f"{name}@{alias}",
        model_pattern=glob.escape(name),
        aliases=(alias,),
        gates=(Loads(), SignaturePresent()),
    )


def _mapping(model: BaseModel | None) -> dict[str, Any] | None:
    return None if model is None else model.model_dump(mode="json")


def _listed(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [dict(item) if hasattr(item, "keys") else item for item in value]
    return value
