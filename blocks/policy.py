"""A promotion policy that is edited in Prefect."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, field_validator

from prefect_ml.entities import Policy
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store


class PromotionPolicyBlock(Block):
    """A promotion policy as YAML. It protects nothing until it is saved to a store, whose copy is the one that counts.

    Attributes:
        definition: the policy as YAML, validated when the block is made.

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

    definition: str = Field(
        default=...,
        description="The policy as YAML: name, model_pattern, aliases, stages, gates, approvals, approvers.",
    )

    @field_validator("definition")
    @classmethod
    def _valid(cls, value: str) -> str:
        PromotionPolicy.from_yaml(value)
        return value

    @property
    def policy(self) -> PromotionPolicy:
        """The policy that the YAML describes."""
        return PromotionPolicy.from_yaml(self.definition)

    def save_to_store(self, store: Store | None = None, *, actor: str, reason: str = "") -> Policy:
        """Save it as the next version of the policy of its name; the same content again changes nothing."""
        return (store or open_store()).save_policy(self.policy.to_entity(), actor=actor, reason=reason)
