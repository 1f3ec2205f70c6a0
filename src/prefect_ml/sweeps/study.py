"""Trials chosen by Optuna (the extra `sweep`); imported only by sweeps that ask for it.

The study lives in memory and is made from the finished trials of the store. Each suggestion has a seed of its own, so
that it depends on the plan, its number and what was told before, and not on how often the sweep was interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.sweeps.choose import learnable, seed_of
from prefect_ml.sweeps.space import Choice, Range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.sweeps.trials import Plan, Trial

try:
    import optuna
except ImportError as error:
    raise InvalidInputError('method="optuna" needs Optuna: pip install "prefect-ml[sweep]".') from error


class OptunaChooser:
    """Asks a study of tree-structured Parzen estimators (J. Bergstra et al., 2011), Optuna's default.

    Args:
        plan: the sweep.
        trials: how many there will be.
    """

    def __init__(self, plan: Plan, trials: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.count = trials
        self._plan = plan
        self._distributions = {name: _distribution(item) for name, item in plan.space.items()}
        self._study = optuna.create_study(direction=plan.direction, sampler=optuna.samplers.TPESampler(seed=plan.seed))
        self._asked: dict[int, optuna.Trial] = {}

    def ask(self, number: int) -> Mapping[str, Any]:
        self._study.sampler = optuna.samplers.TPESampler(seed=seed_of(self._plan, number))
        asked = self._asked[number] = self._study.ask(self._distributions)
        return {name: _outward(self._plan.space[name], value) for name, value in asked.params.items()}

    def tell(self, trial: Trial) -> None:
        asked = self._asked.pop(trial.number, None)
        if asked is not None:
            self._study.tell(asked, **_outcome(trial))
        elif learnable(trial):
            self._study.add_trial(self._frozen(trial))

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        inward = {name: _inward(self._plan.space[name], value) for name, value in trial.params.items()}
        return optuna.trial.create_trial(**_outcome(trial), params=inward, distributions=self._distributions)


def _outcome(trial: Trial) -> dict[str, Any]:
    """For Optuna a trial that came to no finite number has failed."""
    if trial.comparable:
        return {"state": optuna.trial.TrialState.COMPLETE, "values": [trial.value]}
    return {"state": optuna.trial.TrialState.FAIL}


def _distribution(item: Choice | Range) -> optuna.distributions.BaseDistribution:
    """Choices by their place in the list, so that they may be any plain data."""
    if isinstance(item, Choice):
        return optuna.distributions.CategoricalDistribution(tuple(range(len(item.values))))
    if item.whole:
        return optuna.distributions.IntDistribution(
            int(item.low), int(item.top), log=item.log, step=int(item.step or 1)
        )
    return optuna.distributions.FloatDistribution(item.low, item.top, log=item.log, step=item.step)


def _outward(item: Choice | Range, value: Any) -> Any:
    return item.values[value] if isinstance(item, Choice) else value


def _inward(item: Choice | Range, value: Any) -> Any:
    return item.place(value) if isinstance(item, Choice) else value
