"""The words of a sweep, and what the store remembers of it: the trials are runs with tags, and nothing else is kept."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson

from prefect_ml.entities import Run, RunStatus
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.settings import Settings
from prefect_ml.sweeps.space import Space, plain
from prefect_ml.tracking.outbox import deliver_folder
from prefect_ml.tracking.start import PARENT_TAG

if TYPE_CHECKING:
    from prefect_ml.store.contract import Store

Method = Literal["grid", "random", "optuna"]
Direction = Literal["maximize", "minimize"]

KEY_TAG = "prefect_ml.sweep.key"
PLAN_TAG = "prefect_ml.sweep.plan"
TRIAL_TAG = "prefect_ml.sweep.trial"
PARAMS_TAG = "prefect_ml.sweep.params"
VALUE_TAG = "prefect_ml.sweep.value"
BEST_TAG = "prefect_ml.sweep.best"
BEST_RUN_TAG = "prefect_ml.sweep.best_run_id"
BEST_VALUE_TAG = "prefect_ml.sweep.best_value"
STOP_TAG = "prefect_ml.sweep.stop"

_KEY = re.compile(r"[A-Za-z0-9][\w.\-:/ ]{0,199}", re.ASCII)
_TRIALS = uuid.UUID("6a0f3c43-2b0e-4f5c-9b54-2f9c1d1f6b11")
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes two sweeps the same one, so that one continues the other.

    Attributes:
        experiment: name of the experiment of the sweep and its trials.
        key: name of the sweep in the experiment.
        space: what the parameters may be.
        method: how parameters are chosen.
        metric: name of the metric that is judged.
        direction: whether more of it is better, or less.
        seed: what makes the choice repeatable.
    """

    experiment: str
    key: str
    space: Space
    method: Method
    metric: str
    direction: Direction
    seed: int

    @property
    def digest(self) -> str:
        content = (plain(self.space), self.method, self.metric, self.direction, self.seed)
        return hashlib.sha256(orjson.dumps(content)).hexdigest()[:16]

    def run_id(self, number: int) -> str:
        """The id of a trial's run: the same whoever runs the trial, and however often."""
        return uuid.uuid5(_TRIALS, f"{self.experiment}\n{self.key}\n{number}").hex

    def better(self, value: float, than: float) -> bool:
        return value > than if self.direction == "maximize" else value < than


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial of a sweep as it stands.

    Attributes:
        number: from 0.
        run_id: its run.
        params: what it was trained with.
        status: of its run; SCHEDULED before it starts.
        value: its metric; None when it has none, NaN when training came to that.
        error: why it failed.
        sweep_run_id: run of the sweep that it is a child of.
    """

    number: int
    run_id: str
    params: Mapping[str, Any]
    status: RunStatus = RunStatus.SCHEDULED
    value: float | None = None
    error: str = ""
    sweep_run_id: str = ""

    @property
    def comparable(self) -> bool:
        return self.status is RunStatus.FINISHED and self.value is not None and math.isfinite(self.value)


def check_key(key: str) -> str:
    """A key that a filter can quote."""
    if not _KEY.fullmatch(key):
        raise InvalidInputError(
            f"The key {key[:60]!r} cannot name a sweep: use 1 to 200 letters, digits, spaces and `_.-:/`."
        )
    return key


def best_of(plan: Plan, trials: Sequence[Trial]) -> Trial | None:
    """The best finished trial, the first of equals; those without a finite value do not count."""
    best: Trial | None = None
    for trial in sorted(trials, key=lambda trial: trial.number):
        if not trial.comparable or trial.value is None:
            continue
        if best is None or best.value is None or plan.better(trial.value, best.value):
            best = trial
    return best


def remembered(store: Store, plan: Plan) -> dict[int, Trial]:
    """The trials of a sweep that have a run in the store, by number.

    What dead processes of this machine recorded of them is delivered before.

    Raises:
        InvalidInputError: the key is that of another sweep.
        StoreUnavailableError: the store is away; a sweep without its memory would run trials twice.
    """
    try:
        experiment = store.get_experiment_by_name(plan.experiment)
    except NotFoundError:
        return {}
    _deliver_left(store, plan, experiment.experiment_id)
    runs = list(_runs(store, plan, experiment.experiment_id))
    others = [run for run in runs if run.tags.get(PLAN_TAG) != plan.digest]
    if others:
        raise InvalidInputError(
            f"The key {plan.key!r} belongs to a sweep of experiment {plan.experiment!r} with another space, method, "
            "metric, direction or seed, so it cannot be continued; give this sweep another key."
        )
    trials = [_trial(run) for run in runs]
    return {trial.number: trial for trial in trials}


def _runs(store: Store, plan: Plan, experiment_id: str) -> Iterator[Run]:
    query = f"tags.`{KEY_TAG}` = '{plan.key}' AND tags.`{TRIAL_TAG}` != ''"
    token: str | None = None
    while True:
        page = store.search_runs([experiment_id], query, max_results=_PAGE, page_token=token)
        yield from page.items
        token = page.next_token
        if token is None:
            return


def _deliver_left(store: Store, plan: Plan, experiment_id: str) -> None:
    """Deliver the journals of trials that a dead process left; without them a finished trial may look unfinished."""
    folder = Settings().journal_folder
    ours = {run.run_id for run in _runs(store, plan, experiment_id)}
    for run_id in sorted(ours):
        if (folder / run_id).is_dir():
            deliver_folder(store, folder / run_id)


def _trial(run: Run) -> Trial:
    value = run.tags.get(VALUE_TAG)
    return Trial(
        number=int(run.tags[TRIAL_TAG]),
        run_id=run.run_id,
        params=orjson.loads(run.tags[PARAMS_TAG]),
        status=run.status,
        value=None if value is None else float(value),
        sweep_run_id=run.tags.get(PARENT_TAG, ""),
    )
