"""How trials are chosen, and that an interruption does not change the choice."""

from __future__ import annotations

import dataclasses
import math

import pytest

from prefect_ml.entities import RunStatus
from prefect_ml.errors import InvalidInputError
from prefect_ml.sweeps.methods import chooser
from prefect_ml.sweeps.space import parse_space
from prefect_ml.sweeps.trials import Plan, Trial, best_of

SPACE = {
    "lr": {"low": 1e-5, "high": 1e-1, "log": True},
    "depth": {"low": 2, "high": 11, "int": True, "step": 2},
    "rate": {"low": 0.0, "high": 0.55, "step": 0.1},
    "kind": ["a", True, 1, [1, 2]],
}


def plan(method, seed=0):
    return Plan("e", "k", parse_space(SPACE), method, "score", "maximize", seed)


def judged(number, params):
    score = -abs(math.log10(params["lr"]) + 3) - params["depth"] / 10 + (params["kind"] == "a")
    status = RunStatus.FAILED if number == 4 else RunStatus.FINISHED
    return Trial(number, str(number), params, status, math.nan if number == 5 else score)


def go_on(choose, trials, until):
    for number in range(len(trials), until):
        trial = judged(number, choose.ask(number))
        choose.tell(trial)
        trials.append(trial)
    return trials


@pytest.mark.parametrize("method", ["random", "optuna"])
@pytest.mark.parametrize("cut", [1, 6, 14, 19])
def test_a_resumed_sweep_goes_on_as_if_it_had_never_stopped(method, cut):
    whole = go_on(chooser(plan(method), 20), [], 20)
    before = go_on(chooser(plan(method), 20), [], cut)
    resumed = chooser(plan(method), 20)
    for trial in before:
        resumed.tell(trial)
    assert [t.params for t in go_on(resumed, before, 20)] == [t.params for t in whole]


def test_optuna_learns_from_what_was_told():
    told = go_on(chooser(plan("optuna"), 30), [], 20)
    fresh = chooser(plan("optuna"), 30)
    rebuilt = chooser(plan("optuna"), 30)
    for trial in told:
        rebuilt.tell(trial)
    assert fresh.ask(25) != rebuilt.ask(25)


def test_optunas_suggestions_are_of_the_space():
    for trial in go_on(chooser(plan("optuna"), 40), [], 40):
        assert 1e-5 <= trial.params["lr"] <= 1e-1
        assert trial.params["depth"] in (2, 4, 6, 8, 10)
        assert 0 <= trial.params["rate"] <= 0.5000001
        assert any(trial.params["kind"] is value for value in SPACE["kind"])


def test_another_seed_is_another_choice():
    for method in ("random", "optuna"):
        assert chooser(plan(method, 1), 1).ask(0) != chooser(plan(method, 2), 1).ask(0)


def test_what_no_method_can_do_is_refused():
    with pytest.raises(InvalidInputError, match='"grid", "random" or "optuna"'):
        chooser(plan("annealing"), 3)
    with pytest.raises(InvalidInputError, match="1 to 10000 trials, not 10001"):
        chooser(plan("random"), 10_001)


def test_the_best_is_finished_finite_and_the_first_of_equals():
    values = [(0, 1.0, "FAILED"), (1, math.nan, "FINISHED"), (2, math.inf, "FINISHED"), (3, None, "FINISHED"),
              (4, 0.5, "FINISHED"), (5, 0.5, "FINISHED"), (6, 0.1, "FINISHED")]  # fmt: skip
    trials = [Trial(n, str(n), {}, RunStatus(status), value) for n, value, status in values]
    maximize = plan("grid")
    assert best_of(maximize, trials).number == 4
    assert best_of(dataclasses.replace(maximize, direction="minimize"), trials).number == 6
    assert best_of(maximize, trials[:4]) is None
