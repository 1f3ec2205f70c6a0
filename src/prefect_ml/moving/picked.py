"""Some versions of a store with what they came from, as an origin; the rest of the store is not looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prefect_ml.entities import Experiment, ModelVersion, Run, Stage
from prefect_ml.errors import NotFoundError
from prefect_ml.lineage.read import get_lineage
from prefect_ml.models.uri import ModelUri, UriKind
from prefect_ml.moving.own import OwnOrigin
from prefect_ml.store.moving_contract import MovedExperiment, MovedLoggedModel, MovedModel

if TYPE_CHECKING:
    from prefect_ml.artifacts.contract import ArtifactStore
    from prefect_ml.lineage.facts import Lineage
    from prefect_ml.store.contract import Store

_LEFT = (
    "Requests, gates, decisions, policies and moves of aliases came along as what the origin says; they count for "
    "nothing here. Webhooks and the rest of its audit log stay there."
)
_NO_ALIASES = " Aliases and stages stay there too: what is champion here is decided here."
# Versions that are copied at a time with all that they came from.
_MOST = 10_000


class PickedOrigin(OwnOrigin):
    """`Origin` over versions of a store with what they came from.

    That is the versions that their runs loaded or that they are copies of, the runs around, logged models, experiments.

    Args:
        store: where everything is read from; it stays open.
        open_place: opens the artifacts at the URI of a run or logged model.
        wanted: numbers of versions by name of registered model.
        aliases: whether versions come with their aliases and stages.

    Attributes:
        versions: the wanted ones and their ancestors, by name and number, as they are there.

    Raises:
        NotFoundError: a version is not there.
    """

    def __init__(
        self,
        store: Store,
        open_place: Callable[[str], ArtifactStore],
        wanted: Mapping[str, Sequence[int]],
        *,
        aliases: bool = False,
    ) -> None:
        super().__init__(store, open_place)
        self._aliases = aliases
        self.versions: dict[tuple[str, int], ModelVersion] = {}
        self._picked_runs: dict[str, Run] = {}
        self._picked_models: dict[str, MovedLoggedModel] = {}
        for name, numbers in sorted(wanted.items()):
            for number in sorted(numbers):
                self._add(name, number)
        for model in list(self._picked_models.values()):
            for run_id in sorted({model.model.source_run_id, *(each.run_id for each in model.model.metrics)}):
                self._add_run(run_id)

    def experiments(self) -> Iterator[MovedExperiment]:
        ids = {run.experiment_id for run in self._picked_runs.values()}
        ids |= {moved.model.experiment_id for moved in self._picked_models.values()}
        yield from (self._store.get_moved_experiment(each) for each in sorted(ids))

    def runs(self, experiment: Experiment) -> Iterator[Run]:
        yield from (run for run in self._picked_runs.values() if run.experiment_id == experiment.experiment_id)

    def logged_models(self, experiment: Experiment) -> Iterator[MovedLoggedModel]:
        mine = experiment.experiment_id
        yield from (moved for moved in self._picked_models.values() if moved.model.experiment_id == mine)

    def models(self) -> Iterator[MovedModel]:
        for name in sorted({name for name, _ in self.versions}):
            model = dataclasses.replace(self._store.get_registered_model(name), latest_versions=())
            versions = [self._shown(found) for (of, _), found in sorted(self.versions.items()) if of == name]
            numbers = {version.version for version in versions}
            aliases = {alias: at for alias, at in model.aliases.items() if self._aliases and at in numbers}
            yield MovedModel(dataclasses.replace(model, aliases=aliases), versions, max(numbers))

    def left_behind(self, experiments: Sequence[Experiment]) -> Sequence[str]:  # noqa: ARG002  of the port
        return [_LEFT if self._aliases else _LEFT + _NO_ALIASES]

    def _shown(self, version: ModelVersion) -> ModelVersion:
        return version if self._aliases else dataclasses.replace(version, aliases=(), stage=Stage.NONE)

    def _add(self, name: str, number: int) -> None:
        """Pick a version with what it came from."""
        if (name, number) in self.versions or len(self.versions) >= _MOST:
            return
        version = self._store.get_model_version(name, number)
        self.versions[name, number] = version
        if version.run_id:
            self._add_run(version.run_id)
        if version.model_id:
            self._add_logged_model(version.model_id)
        if version.source.startswith("models:/"):
            self._add_if_there(version.source)
        for ancestor in _ancestors(get_lineage(self._store, f"models:/{name}/{number}")):
            self._add_if_there(ancestor)

    def _add_if_there(self, uri: str) -> None:
        """Pick a version that another one is made of, unless it was deleted since."""
        parsed = ModelUri.parse(uri)
        if parsed.kind is not UriKind.VERSION:
            return
        try:
            self._add(parsed.name, parsed.version)
        except NotFoundError:
            return

    def _add_run(self, run_id: str) -> None:
        """Pick a run with those around it, as far as they are there."""
        while run_id and run_id not in self._picked_runs:
            try:
                run = self._store.get_run(run_id)
            except NotFoundError:
                return
            self._picked_runs[run_id] = run
            run_id = run.tags.get("mlflow.parentRunId", "")

    def _add_logged_model(self, model_id: str) -> None:
        if model_id not in self._picked_models:
            try:
                self._picked_models[model_id] = self._store.get_moved_logged_model(model_id)
            except NotFoundError:
                return


def _ancestors(lineage: Lineage) -> Iterator[str]:
    """The URIs of the models that were loaded on the way to a model."""
    for each in lineage.upstream:
        if each.version is not None:
            yield each.uri
            yield from _ancestors(each)
