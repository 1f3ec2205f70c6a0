"""A store of prefect-ml as the origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prefect_ml.artifacts.contract import ArtifactStore
from prefect_ml.entities import Experiment, LoggedModel, Run, ViewType
from prefect_ml.moving.files import StoredFiles
from prefect_ml.store.contract import Store
from prefect_ml.store.moving_contract import MovedExperiment, MovedLoggedModel, MovedModel, MovedRun

_PAGE = 500
_LEFT = (
    "Attempts that have not ended, earlier moves of aliases, promotion requests, policies, webhooks and the audit log "
    "stay in the store that they are of."
)
_PROMPTS = "tags.`mlflow.prompt.is_prompt` = 'true'"


class OwnOrigin:
    """`Origin` over a store.

    Args:
        store: where everything is read from; it stays open.
        open_place: opens the artifacts at the URI of a run or logged model.
    """

    def __init__(self, store: Store, open_place: Callable[[str], ArtifactStore]) -> None:
        self._store = store
        self._open = open_place

    @property
    def name(self) -> str:
        return self._store.url

    def experiments(self) -> Iterator[MovedExperiment]:
        token = None
        while True:
            order = ["experiment_id ASC"]
            page = self._store.search_experiments("", order, ViewType.ALL, _PAGE, token)
            yield from (self._store.get_moved_experiment(each.experiment_id) for each in page.items)
            if (token := page.next_token) is None:
                return

    def runs(self, experiment: Experiment) -> Iterator[Run]:
        token = None
        while True:
            ids, view = [experiment.experiment_id], ViewType.ALL
            page = self._store.search_runs(ids, view_type=view, max_results=_PAGE, page_token=token)
            yield from page.items
            if (token := page.next_token) is None:
                return

    def complete(self, run: Run) -> Run:
        return run

    def whole(self, run: Run) -> MovedRun:
        return self._store.get_moved_run(run.run_id)

    def logged_models(self, experiment: Experiment) -> Iterator[MovedLoggedModel]:
        for model_id in self._store.list_logged_model_ids(experiment.experiment_id):
            yield self._store.get_moved_logged_model(model_id)

    def models(self) -> Iterator[MovedModel]:
        for filter_ in ("", _PROMPTS):
            token = None
            while True:
                page = self._store.search_registered_models(filter_, max_results=_PAGE, page_token=token)
                yield from (self._store.get_moved_model(model.name) for model in page.items)
                if (token := page.next_token) is None:
                    break

    def files(self, of: Run | LoggedModel) -> StoredFiles:
        return StoredFiles(self._open(of.artifact_uri))

    def left_behind(self, experiments: Sequence[Experiment]) -> Sequence[str]:
        return [_LEFT] if experiments else []

    def close(self) -> None:
        """Nothing to do: whoever opened the store closes it."""
