"""From what people call experiments to their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.entities import ViewType
from prefect_ml.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.store.contract import ExperimentStore


def all_experiments(store: ExperimentStore, view_type: ViewType = ViewType.ACTIVE_ONLY) -> list[str]:
    """The ids of all experiments of a view."""
    found: list[str] = []
    token: str | None = None
    while True:
        page = store.search_experiments(view_type=view_type, page_token=token)
        found += [experiment.experiment_id for experiment in page.items]
        token = page.next_token
        if token is None:
            return found


def experiment_ids(store: ExperimentStore, wanted: str | Sequence[str] | None) -> list[str]:
    """The ids of experiments given by name or id; of all active ones for None.

    Raises:
        NotFoundError: there is no such experiment.
    """
    if wanted is None:
        return all_experiments(store)
    return [_experiment_id(store, each) for each in ([wanted] if isinstance(wanted, str) else wanted)]


def _experiment_id(store: ExperimentStore, experiment: str) -> str:
    try:
        return store.get_experiment_by_name(experiment).experiment_id
    except NotFoundError:
        if not experiment.isdecimal():
            raise
        return store.get_experiment(experiment).experiment_id
