"""The port of what things are moved from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from prefect_ml.entities import ArtifactInfo, Experiment, LoggedModel, Run
from prefect_ml.store.moving_contract import MovedExperiment, MovedLoggedModel, MovedModel, MovedRun


class Files(Protocol):
    """The files of a run or logged model."""

    def infos(self) -> Iterable[ArtifactInfo]:
        """Every file below the root, with size and digest where they are known without reading it."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """The bytes of a file; `PrefectMLError` when it cannot be read, whatever the reason."""
        ...


class Origin(Protocol):
    """Where experiments, runs and models are read from; several threads may read at once.

    `StoreUnavailableError` from any method means that trying again later may help.
    """

    @property
    def name(self) -> str:
        """What people call it: its URL without secrets, or its folder."""
        ...

    def experiments(self) -> Iterable[MovedExperiment]:
        """All of them, deleted ones included."""
        ...

    def runs(self, experiment: Experiment) -> Iterable[Run]:
        """The runs of an experiment, deleted ones included."""
        ...

    def complete(self, run: Run) -> Run:
        """A run with what a listing leaves out."""
        ...

    def whole(self, run: Run) -> MovedRun:
        """A complete run with every point of its curves."""
        ...

    def logged_models(self, experiment: Experiment) -> Iterable[MovedLoggedModel]: ...

    def models(self) -> Iterable[MovedModel]:
        """All registered models, prompts among them."""
        ...

    def files(self, of: Run | LoggedModel) -> Files: ...

    def left_behind(self, experiments: Sequence[Experiment]) -> Sequence[str]:
        """What is there but cannot be moved, in sentences."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of an origin is moved: everything, when nothing is named.

    Attributes:
        experiments: by name, with all that is in them.
        models: registered models by name, with what their versions need: runs, logged models, experiments.
        versions: of the named models only those of these numbers; all when empty.
    """

    experiments: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    versions: frozenset[int] = frozenset()

    @property
    def everything(self) -> bool:
        return not self.experiments and not self.models
