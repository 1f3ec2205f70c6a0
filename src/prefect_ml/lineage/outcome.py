"""What became of a model version: requests to promote it, and the aliases that were moved to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.errors import NotFoundError
from prefect_ml.lineage.facts import Promotion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect_ml.entities import AliasMove, ModelVersion
    from prefect_ml.store.contract import Store

# How many of a model's latest requests are looked at.
_MAX_REQUESTS = 1000


def promotions_of(store: Store, version: ModelVersion) -> list[Promotion]:
    """The requests for a version among the model's latest thousand, newest first."""
    return [
        Promotion(
            request.request_id,
            request.alias,
            request.status.value,
            request.requester,
            request.requested_at,
            [decision.actor for decision in request.decisions if decision.approve],
            request.policy,
        )
        for request in store.list_requests(name=version.name, max_results=_MAX_REQUESTS)
        if request.version == version.version
    ]


def moves_to(store: Store, version: ModelVersion, asked: Iterable[str]) -> list[AliasMove]:
    """The moves to a version of the aliases that it has, and of those that were asked for, oldest first."""
    found: list[AliasMove] = []
    for alias in sorted({*version.aliases, *asked}):
        try:
            history = store.alias_history(version.name, alias)
        except NotFoundError:  # asked for, and never moved
            continue
        found += [move for move in history if move.version == version.version]
    return sorted(found, key=lambda move: move.moved_at)
