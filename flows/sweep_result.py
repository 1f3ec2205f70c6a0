"""What a sweep came to, and where it is shown: tags and metrics of its runs, and a table on the flow run's page."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from prefect_ml.errors import PrefectMLError
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store
from prefect_ml.sweeps.trials import (
    BEST_RUN_TAG,
    BEST_TAG,
    BEST_VALUE_TAG,
    KEY_TAG,
    PLAN_TAG,
    TRIAL_TAG,
    Plan,
    Trial,
    best_of,
)
from prefect_ml.tracking.run import ActiveRun

logger = logging.getLogger(__name__)

_MOST_ROWS = 500


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep came to.

    Attributes:
        run_id: the sweep's run.
        key: what continues it.
        best: its best trial; None when none came to a finite value.
        trials: all that were started, by number.
        stopped: why it ended early; "" when it did not.
    """

    run_id: str
    key: str
    best: Trial | None
    trials: Sequence[Trial]
    stopped: str = ""

    @classmethod
    def of(cls, plan: Plan, run_id: str, trials: Mapping[int, Trial], stopped: str) -> SweepResult:
        ordered = tuple(trials[number] for number in sorted(trials))
        return cls(run_id, plan.key, best_of(plan, ordered), ordered, stopped)


def publish(plan: Plan, run: ActiveRun, result: SweepResult) -> None:
    """Say how it went, mark the best trial and leave the table.

    What cannot be shown is a warning, and the sweep's outcome stands.
    """
    try:
        get_run_logger().info("%s", _said(plan, result))
        _mark(plan, run, result)
        _table(plan, result)
    except PrefectMLError as error:
        logger.warning("The outcome of the sweep cannot be shown. %s", error)
    except Exception:  # whatever Prefect's API answers, the trials are recorded
        logger.warning("The outcome of the sweep cannot be shown.", exc_info=True)


def _said(plan: Plan, result: SweepResult) -> str:
    """How many trials came to what, which was best, and how the sweep goes on."""
    counts = Counter(trial.status.value for trial in result.trials)
    counted = ", ".join(f"{number} {status}" for status, number in sorted(counts.items())) or "none"
    sentences = [f"Trials of the sweep {plan.key!r}: {counted}."]
    if result.best is not None and result.best.value is not None:
        sentences.append(
            f"The best is trial {result.best.number} with {plan.metric} {result.best.value:.6g}, "
            f"run {result.best.run_id}."
        )
    if result.stopped:
        sentences.append(f"It ended early: {result.stopped}. A sweep with key={plan.key!r} goes on from here.")
    return " ".join(sentences)


def _mark(plan: Plan, run: ActiveRun, result: SweepResult) -> None:
    run.set_tags({KEY_TAG: plan.key, PLAN_TAG: plan.digest})
    if result.best is None or result.best.value is None:
        return
    run.set_tags({BEST_RUN_TAG: result.best.run_id, BEST_VALUE_TAG: repr(result.best.value)})
    run.log_metric(f"best_{plan.metric}", result.best.value, step=len(result.trials))
    store = open_store()
    for run_id in _marked_before(store, plan) - {result.best.run_id}:
        store.delete_tag(run_id, BEST_TAG)
    store.log_batch(result.best.run_id, tags={BEST_TAG: "true"})


def _marked_before(store: Store, plan: Plan) -> set[str]:
    experiment = store.get_experiment_by_name(plan.experiment)
    query = f"tags.`{KEY_TAG}` = '{plan.key}' AND tags.`{BEST_TAG}` = 'true' AND tags.`{TRIAL_TAG}` != ''"
    return {run.run_id for run in store.search_runs([experiment.experiment_id], query).items}


def _table(plan: Plan, result: SweepResult) -> None:
    slug = re.sub(r"[^a-z0-9]+", "-", plan.experiment.lower()).strip("-") or "tracked"
    best = "no trial came to a finite value"
    if result.best is not None:
        best = f"the best is trial {result.best.number} with {result.best.value:.6g}"
    more = f"; the first {_MOST_ROWS} are shown" if len(result.trials) > _MOST_ROWS else ""
    what = f"{len(result.trials)} trials of the sweep `{plan.key}`, {plan.direction} {plan.metric}"
    create_table_artifact(
        [_row(plan, trial, result.best) for trial in result.trials[:_MOST_ROWS]],
        key=f"{slug}-sweep",
        description=f"{what}: {best}{more}.",
    )


def _row(plan: Plan, trial: Trial, best: Trial | None) -> dict[str, Any]:
    shown = {
        name: value if isinstance(value, int | float | str) else str(value) for name, value in trial.params.items()
    }
    value = "" if trial.value is None else f"{trial.value:.6g}"
    mark = " ★" if best is not None and best.run_id == trial.run_id else ""
    return {
        "trial": f"{trial.number}{mark}", "status": str(trial.status), plan.metric: value, **shown,
        "run": trial.run_id, "error": trial.error[:200],
    }  # fmt: skip
