"""What of an origin is chosen, experiment by experiment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prefect_ml.entities import Run
from prefect_ml.errors import NotFoundError
from prefect_ml.moving.origin import Origin, Wanted
from prefect_ml.store.moving_contract import MovedExperiment, MovedLoggedModel, MovedModel


@dataclass(frozen=True, slots=True)
class Chosen:
    """An experiment with what of it is chosen."""

    experiment: MovedExperiment
    runs: Iterable[Run]
    logged_models: Sequence[MovedLoggedModel]


class Selection:
    """What `wanted` means in an origin.

    Attributes:
        models: the registered models that are chosen, with the chosen versions.

    Raises:
        NotFoundError: a named model or version is not there.
    """

    def __init__(self, origin: Origin, wanted: Wanted) -> None:
        self._origin = origin
        self._wanted = wanted
        self.models: list[MovedModel] = []
        if wanted.everything or wanted.models:
            self.models = [
                _trimmed(moved, wanted)
                for moved in origin.models()
                if wanted.everything or moved.model.name in wanted.models
            ]
        missing = wanted.models - {moved.model.name for moved in self.models}
        if missing:
            raise NotFoundError(f"There is no registered model {min(missing)!r} in {origin.name}; check the name.")
        versions = [version for moved in self.models for version in moved.versions]
        if wanted.versions and wanted.versions != {version.version for version in versions}:
            raise NotFoundError(f"Not every version of {sorted(wanted.versions)} is there; check the numbers.")
        self._runs = {version.run_id for version in versions if version.run_id}
        self._models = {version.model_id for version in versions if version.model_id}

    def experiments(self) -> Iterator[Chosen]:
        """Each experiment of which anything is chosen.

        Raises:
            NotFoundError: at the end, when a named experiment is not there.
        """
        missing = set(self._wanted.experiments)
        for moved in self._origin.experiments():
            missing.discard(moved.experiment.name)
            if self._wanted.everything or moved.experiment.name in self._wanted.experiments:
                logged_models = list(self._origin.logged_models(moved.experiment))
                yield Chosen(moved, self._origin.runs(moved.experiment), logged_models)
            elif self._wanted.models and (chosen := self._needed(moved)) is not None:
                yield chosen
        if missing:
            raise NotFoundError(f"There is no experiment {min(missing)!r} in {self._origin.name}; check the name.")

    def _needed(self, moved: MovedExperiment) -> Chosen | None:
        """What of an experiment the chosen versions need; None when it is nothing."""
        logged_models = [
            each for each in self._origin.logged_models(moved.experiment) if each.model.model_id in self._models
        ]
        wanted = self._runs | {each.model.source_run_id for each in logged_models}
        wanted |= {metric.run_id for each in logged_models for metric in each.model.metrics}
        runs = [run for run in self._origin.runs(moved.experiment) if run.run_id in wanted]
        return Chosen(moved, runs, logged_models) if runs or logged_models else None


def _trimmed(moved: MovedModel, wanted: Wanted) -> MovedModel:
    """A model with the wanted versions alone, and the aliases that are on them."""
    if not wanted.versions:
        return moved
    versions = [version for version in moved.versions if version.version in wanted.versions]
    aliases = {alias: version for alias, version in moved.model.aliases.items() if version in wanted.versions}
    last = max((version.version for version in versions), default=0)
    return MovedModel(dataclasses.replace(moved.model, aliases=aliases), versions, last)
