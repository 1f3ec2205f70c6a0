"""A promotion policy that is edited in Prefect."""

from __future__ import annotations

from typing import Any, Literal

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, model_validator

from prefect_ml.entities import Policy
from prefect_ml.errors import InvalidInputError
from prefect_ml.registry.gates import Gate
from prefect_ml.registry.policy import WEEK, Canary, OnRejection, PromotionPolicy, Soak
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store


class PromotionPolicyBlock(Block):
    """A promotion policy as a form. It protects nothing until it is saved to a store, whose copy is what counts.

    `prefect-ml policies save --block BLOCK_NAME` does that too.

    Attributes:
        policy_name: unique among policies; the name of the block when empty.
        model_pattern: shell-style pattern over model names.
        aliases: the aliases that it protects.
        stages: the stages that it protects.
        gates: what is evaluated before anyone is asked.
        approvals: how many different people must approve.
        approvers: who may decide; anyone when empty.
        four_eyes: whether the requester may not decide.
        expires_after: seconds that a request stays open.
        approval_valid_for: seconds from the last approval within which the alias must move; 0 for no bound.
        evidence_valid_for: seconds that the results of gates may be old when the alias moves; 0 for no bound.
        canary: a trial on another alias before the move.
        soak: a trial after the move.
        on_rejection: what is done to a version that is rejected.
        emergency: who may roll back at once; `*` is anyone.
        on_decay: what becomes of a champion whose gates fail later.
        notify: the notification blocks that are told.
        definition: the whole policy as YAML, in the place of all other fields; blocks of the first release have it.

    Example:
        Put a policy in force:
        ```python
        from prefect_ml.blocks import PromotionPolicyBlock

        policy = PromotionPolicyBlock.load("BLOCK_NAME")
        policy.save_to_store(actor="ann", reason="two approvals from now on")
        ```
    """

    _block_type_name = "Promotion Policy"
    _block_type_slug = "prefect-ml-promotion-policy"
    _documentation_url = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")

    policy_name: str = Field(default="", description="Unique among policies; the name of the block when empty.")
    model_pattern: str = Field(default="*", description="The models that it is about, with * and ? as in file names.")
    aliases: list[str] = Field(default=[], description="The aliases that move only by an approved request.")
    stages: list[Literal["Staging", "Production", "Archived"]] = Field(
        default=[], description="The stages that versions enter and leave only by an approved request."
    )
    gates: list[Gate] = Field(default=[], description="What is evaluated before anyone is asked.")
    approvals: int = Field(default=1, description="How many different people must approve; 0 for the gates alone.")
    approvers: list[str] = Field(default=[], description="Who may decide; anyone when empty.")
    four_eyes: bool = Field(default=False, description="Whether the person who asks may not decide.")
    expires_after: float = Field(default=WEEK, description="Seconds that a request stays open.")
    approval_valid_for: float = Field(
        default=0.0, description="Seconds from the last approval within which the alias must move; 0 for no bound."
    )
    evidence_valid_for: float = Field(
        default=0.0, description="Seconds that the results of gates may be old when the alias moves; 0 for no bound."
    )
    canary: Canary | None = Field(default=None, description="A trial on another alias before the move.")
    soak: Soak | None = Field(default=None, description="A trial after the move, which is rolled back when it fails.")
    on_rejection: OnRejection | None = Field(default=None, description="What is done to a version that is rejected.")
    emergency: list[str] = Field(default=[], description="Who may roll back at once, unapproved; * for anyone.")
    on_decay: Literal["nothing", "rollback", "remove"] = Field(
        default="nothing", description="What becomes of a champion whose gates fail later."
    )
    notify: list[str] = Field(default=[], description="Notification blocks, such as slack-webhook/oncall.")
    definition: str | None = Field(
        default=None, description="The whole policy as YAML, in the place of all other fields."
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        """The fields of a policy that is given as YAML."""
        if not isinstance(given, dict) or not given.get("definition"):
            return given
        read = PromotionPolicy.from_yaml(given["definition"]).model_dump(mode="json", exclude_none=True)
        return {**given, "policy_name": read.pop("name"), **read}

    @model_validator(mode="after")
    def _valid(self) -> PromotionPolicyBlock:
        self._named(self.policy_name or "a policy")
        return self

    @property
    def policy(self) -> PromotionPolicy:
        """The policy that the fields describe.

        Raises:
            InvalidInputError: neither the policy nor the block has a name yet.
        """
        name = self.policy_name or self._block_document_name
        if not name:
            raise InvalidInputError("The policy has no name: give policy_name, or save the block under a name first.")
        return self._named(name)

    def save_to_store(self, store: Store | None = None, *, actor: str, reason: str = "") -> Policy:
        """Save it as the next version of the policy of its name; the same content again changes nothing."""
        return (store or open_store()).save_policy(self.policy.to_entity(), actor=actor, reason=reason)

    def _named(self, name: str) -> PromotionPolicy:
        said = self.model_dump(mode="json", include=set(PromotionPolicy.model_fields), exclude_none=True)
        gates = [gate.model_dump(mode="json", exclude_none=True) for gate in self.gates]
        return PromotionPolicy.from_dict({**said, "name": name, "gates": gates})
