"""Taking over what an origin has into a store: files first, then rows, so that what has its row is whole.

Nothing is noted of how far it came: what is here already is not carried again, and what is not here is. So it can be
broken off at any point, and run again.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from prefect_ml.entities import Experiment, LifecycleStage, LoggedModel, Run
from prefect_ml.errors import NotFoundError, PrefectMLError, StoreUnavailableError
from prefect_ml.moving import compare
from prefect_ml.moving.carrying import carry
from prefect_ml.moving.files import walk
from prefect_ml.moving.origin import Origin, Wanted
from prefect_ml.moving.places import Moves, logged_model_place, open_place, run_place
from prefect_ml.moving.report import Kind, Notes, Report
from prefect_ml.moving.selection import Chosen, Selection
from prefect_ml.moving.transfer_models import ModelTransfer
from prefect_ml.store.contract import Store
from prefect_ml.store.moving_contract import MovedExperiment, MovedLoggedModel

T = TypeVar("T")

_logger = logging.getLogger(__name__)


def take_over(
    origin: Origin,
    store: Store,
    wanted: Wanted | None = None,
    *,
    threads: int = 8,
    skip_unreadable: bool = False,
) -> Report:
    """Take over what is wanted of an origin (everything by default), and tell what was done.

    Args:
        origin: what is read.
        store: where it comes to; its artifacts to where the store's experiments have theirs.
        wanted: what is taken.
        threads: runs and logged models that are carried at once.
        skip_unreadable: whether a run or logged model is taken over without those of its files that cannot be read;
            else it is not taken over at all, and named in the report.

    Raises:
        NotFoundError: something that is wanted by name is not there.
        StoreUnavailableError: the origin or the store is away; run it again.
    """
    return _Transfer(origin, store, threads, skip_unreadable=skip_unreadable).run(wanted or Wanted())


class _Transfer:
    def __init__(self, origin: Origin, store: Store, threads: int, *, skip_unreadable: bool) -> None:
        self._origin = origin
        self._store = store
        self._threads = threads
        self._skip = skip_unreadable
        self._notes = Notes(origin.name, store.url)
        self._moves = Moves()
        self._here: set[str] = set()

    def run(self, wanted: Wanted) -> Report:
        selection = Selection(self._origin, wanted)
        taken: list[Experiment] = []
        with ThreadPoolExecutor(self._threads, "prefect-ml-moving") as pool:
            for chosen in selection.experiments():
                taken.append(chosen.experiment.experiment)
                self._experiment(chosen, pool)
        models = ModelTransfer(self._origin.name, self._store, self._moves, self._notes)
        models.take_over(selection.models)
        return self._notes.finish(self._origin.left_behind(taken))

    def _experiment(self, chosen: Chosen, pool: ThreadPoolExecutor) -> None:
        name = chosen.experiment.experiment.name
        _logger.info("Taking over experiment %r.", name)
        self._notes.count(Kind.EXPERIMENTS, "found")
        try:
            here = self._open_experiment(chosen.experiment)
        except StoreUnavailableError:
            raise
        except PrefectMLError as error:
            here = None
            self._notes.count(Kind.EXPERIMENTS, "refused")
            self._notes.failure(f"Experiment {name!r} was not taken over: {error}")
        if here is None:
            return
        self._moves.experiments[chosen.experiment.experiment.experiment_id] = here.experiment_id

        def one_run(run: Run) -> None:
            self._guarded(Kind.RUNS, f"Run {run.run_id}", run.run_id, lambda: self._run(run, here))

        def one_model(moved: MovedLoggedModel) -> None:
            model_id = moved.model.model_id
            what = f"Logged model {model_id}"
            self._guarded(Kind.LOGGED_MODELS, what, model_id, lambda: self._logged_model(moved, here))

        _side_by_side(pool, one_run, chosen.runs, self._threads)
        _side_by_side(pool, one_model, chosen.logged_models, self._threads)

    def _open_experiment(self, moved: MovedExperiment) -> Experiment | None:
        """The experiment here, made where it is missing; None when nothing may be taken into it."""
        given = moved.experiment
        try:
            here = self._store.get_experiment_by_name(given.name)
        except NotFoundError:
            number = self._store.take_over_experiment(moved, self._origin.name)
            found = self._store.get_moved_experiment(number)
            told = compare.differences(
                compare.experiment_fields(moved, times=True), compare.experiment_fields(found, times=True)
            )
            self._settle(Kind.EXPERIMENTS, f"Experiment {given.name!r}", told, "copied")
            return found.experiment
        if here.lifecycle_stage != LifecycleStage.ACTIVE and given.lifecycle_stage == LifecycleStage.ACTIVE:
            self._notes.count(Kind.EXPERIMENTS, "refused")
            self._notes.conflict(
                f"Experiment {given.name!r} is deleted here; restore it (prefect-ml experiments restore "
                f"{here.experiment_id}) to take its runs over."
            )
            return None
        told = compare.differences(
            compare.experiment_fields(moved, times=False), compare.experiment_fields(MovedExperiment(here), times=False)
        )
        self._settle(Kind.EXPERIMENTS, f"Experiment {given.name!r}", told, "present")
        return here

    def _run(self, listed: Run, here: Experiment) -> None:
        run = self._origin.complete(listed)
        place = run_place(here, run.run_id)
        self._moves.add(run.run_id, run.artifact_uri, place)
        what = f"Run {run.run_id}"
        try:
            there = self._store.get_run(run.run_id)
        except NotFoundError:
            self._carry(what, run, place)
            moved = self._origin.whole(run)
            moved = dataclasses.replace(moved, run=dataclasses.replace(moved.run, experiment_id=here.experiment_id))
            copied = self._store.take_over_run(moved, self._origin.name)
            found = self._store.get_moved_run(run.run_id)
            told = compare.differences(compare.whole_run_fields(moved), compare.whole_run_fields(found))
            if copied:
                self._notes.wrote_points(len(found.points))
            self._settle(Kind.RUNS, what, told, "copied" if copied else "present")
        else:
            told = compare.differences(compare.run_fields(run), compare.run_fields(there))
            if there.experiment_id != here.experiment_id:
                told.append("experiment")
            self._settle(Kind.RUNS, what, told, "present")
        self._notes.holds(run.run_id, list(walk(open_place(self._store, place))))

    def _logged_model(self, moved: MovedLoggedModel, here: Experiment) -> None:
        moved = self._with_metrics_of_runs_here(moved)
        model = moved.model
        place = logged_model_place(here, model.model_id)
        self._moves.add(model.model_id, model.artifact_uri, place)
        what, state = f"Logged model {model.model_id}", "present"
        try:
            found = self._store.get_moved_logged_model(model.model_id)
        except NotFoundError:
            self._carry(what, model, place)
            target = dataclasses.replace(moved, model=dataclasses.replace(model, experiment_id=here.experiment_id))
            state = "copied" if self._store.take_over_logged_model(target, self._origin.name) else "present"
            found = self._store.get_moved_logged_model(model.model_id)
        fields = compare.logged_model_fields
        told = compare.differences(fields(moved), fields(found))
        self._settle(Kind.LOGGED_MODELS, what, told, state)
        self._notes.holds(model.model_id, list(walk(open_place(self._store, place))))

    def _with_metrics_of_runs_here(self, moved: MovedLoggedModel) -> MovedLoggedModel:
        """A logged model without metrics of runs that there are none of; later, it would be another one with them.

        Raises:
            PrefectMLError: a run that it needs was refused.
        """
        model = moved.model
        needed = {model.source_run_id, *(metric.run_id for metric in model.metrics)}
        if refused := needed & self._moves.refused:
            raise PrefectMLError(f"its run {min(refused)} was not taken over.")
        metrics = [metric for metric in model.metrics if metric.run_id in self._here]
        return dataclasses.replace(moved, model=dataclasses.replace(model, metrics=metrics))

    def _carry(self, what: str, of: Run | LoggedModel, place: str) -> None:
        if not of.artifact_uri:
            return
        target = open_place(self._store, place)
        for lost in carry(self._origin.files(of), target, skip_unreadable=self._skip):
            self._notes.failure(f"{what}: {lost}")

    def _settle(self, kind: Kind, what: str, told: list[str], state: str) -> None:
        """Note how it went with one thing, given the fields that differ."""
        if not told:
            self._notes.count(kind, state)
            return
        self._notes.count(kind, "refused")
        if state == "copied":
            self._notes.failure(f"{what} is not here as it was there: {', '.join(told)} differ.")
        else:
            self._notes.conflict(f"{what} is here with other content and stays as it is: {', '.join(told)} differ.")

    def _guarded(self, kind: Kind, what: str, id: str, work: Callable[[], None]) -> None:
        """Do one thing; what refuses it is noted, and the others go on."""
        self._notes.count(kind, "found")
        try:
            work()
        except StoreUnavailableError:
            raise
        except PrefectMLError as error:
            self._moves.refused.add(id)
            self._notes.count(kind, "refused")
            self._notes.failure(f"{what} was not taken over: {error}")
        else:
            self._here.add(id)


def _side_by_side(pool: ThreadPoolExecutor, work: Callable[[T], None], items: Iterable[T], threads: int) -> None:
    """Do the work for all items in the threads of a pool, a bounded number waiting; the first error is raised."""
    remaining = iter(items)
    while part := list(islice(remaining, threads * 16)):
        for _ in pool.map(work, part):
            continue
