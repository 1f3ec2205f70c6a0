"""The methods of a sweep by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError
from prefect_ml.sweeps.choose import GridChooser, RandomChooser
from prefect_ml.sweeps.space import MOST_TRIALS

if TYPE_CHECKING:
    from prefect_ml.sweeps.choose import Chooser
    from prefect_ml.sweeps.trials import Plan

_DEFAULT_TRIALS = 20


def chooser(plan: Plan, trials: int | None) -> Chooser:
    """What chooses for a plan.

    Args:
        plan: the sweep.
        trials: how many; by default a whole grid, else 20.

    Raises:
        InvalidInputError: an impossible number of trials, a grid that is none, or no Optuna.
    """
    if trials is not None and not 1 <= trials <= MOST_TRIALS:
        raise InvalidInputError(f"A sweep has 1 to {MOST_TRIALS} trials, not {trials}.")
    if plan.method == "grid":
        return GridChooser(plan, trials)
    if plan.method == "random":
        return RandomChooser(plan, trials or _DEFAULT_TRIALS)
    if plan.method == "optuna":
        from prefect_ml.sweeps.study import OptunaChooser  # noqa: PLC0415 (Optuna is an extra)

        return OptunaChooser(plan, trials or _DEFAULT_TRIALS)
    raise InvalidInputError(f'The method of a sweep is "grid", "random" or "optuna", not {plan.method!r}.')
