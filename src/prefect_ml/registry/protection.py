"""Whether an alias is protected."""

from __future__ import annotations

from prefect_ml.store.contract import Store


def is_protected(store: Store, name: str, alias: str) -> bool:
    """Whether a policy protects an alias, or a stage that its move back would change.

    Raises:
        NotFoundError: the alias is not set.
    """
    held = store.get_alias(name, alias)
    versions = [number for number in (held.version, held.previous_version) if number is not None]
    stages = [store.get_model_version(name, number).stage.value for number in versions]
    return store.policy_for(name, alias, stages=stages) is not None
