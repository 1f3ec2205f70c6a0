"""Which parameters the next trial gets: a function of the plan, the trial's number and the trials finished before."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol

from prefect_ml.entities import RunStatus
from prefect_ml.sweeps.space import draw, grid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.sweeps.trials import Plan, Trial


class Chooser(Protocol):
    """Chooses parameters, and learns from trials.

    Attributes:
        count: how many trials there will be.
    """

    count: int

    def ask(self, number: int) -> Mapping[str, Any]:
        """The parameters of a trial."""
        ...

    def tell(self, trial: Trial) -> None:
        """Learn how a trial ended."""
        ...


class GridChooser:
    """Every combination in order, or the first of them."""

    def __init__(self, plan: Plan, trials: int | None) -> None:
        self._points = grid(plan.space)[:trials]
        self.count = len(self._points)

    def ask(self, number: int) -> Mapping[str, Any]:
        return self._points[number]

    def tell(self, trial: Trial) -> None:
        """Nothing that a grid could learn."""


class RandomChooser:
    """Independent draws; a trial's depends on the seed and its number alone."""

    def __init__(self, plan: Plan, trials: int) -> None:
        self._plan = plan
        self.count = trials

    def ask(self, number: int) -> Mapping[str, Any]:
        return draw(self._plan.space, f"{self._plan.seed}:{number}")

    def tell(self, trial: Trial) -> None:
        """Nothing that chance could learn."""


def seed_of(plan: Plan, number: int) -> int:
    """A seed of 32 bits of one trial's own."""
    return int.from_bytes(hashlib.sha256(f"{plan.seed}:{number}".encode()).digest()[:4], "big")


def learnable(trial: Trial) -> bool:
    """Whether a trial says something of its parameters: one that was stopped does not."""
    return trial.status in (RunStatus.FINISHED, RunStatus.FAILED)
