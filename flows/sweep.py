"""The flow that sweeps: one training function over a grid, random draws or an Optuna study, each trial a child run.

The store is the only memory: the same key continues what an earlier execution left, on whatever machine.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from prefect import flow
from prefect.states import Failed

import prefect_ml as ml
from prefect_ml.errors import InvalidInputError
from prefect_ml.flows.runners import task_runner_of
from prefect_ml.flows.sweep_loop import Limits, Loop
from prefect_ml.flows.sweep_result import SweepResult, publish
from prefect_ml.flows.trial import load_train
from prefect_ml.store import open_store
from prefect_ml.sweeps.methods import chooser
from prefect_ml.sweeps.space import parse_space
from prefect_ml.sweeps.trials import Direction, Method, Plan, Trial, check_key, remembered

__all__ = ["SweepResult", "Trial", "sweep"]


@ml.track(experiment="{experiment}")
@flow(name="sweep", flow_run_name="{metric} by {method}")
def sweep(
    train: Any,
    space: dict[str, Any],
    *,
    metric: str,
    method: Method = "grid",
    direction: Direction = "maximize",
    trials: int | None = None,
    seed: int = 0,
    parallel: int = 4,
    task_runner: Any = "threads",
    key: str | None = None,
    experiment: str = "sweeps",
    fixed: dict[str, Any] | None = None,
    max_seconds: float | None = None,
    stop_at: float | None = None,
    max_failures: int | None = None,
) -> Any:
    """Train with many parameters and find the best.

    A trial that raises has failed, and the sweep goes on; so has one without the metric. The flow run fails when no
    trial came to a finite value, or when `max_failures` have failed.

    Args:
        train: A function, task or flow of keyword parameters, or its dotted path ("package.module:train"). It logs
            with `ml.log_*`, returns numbers, or both.
        space: For each parameter a list of values, or a range: `{"low": 1e-5, "high": 0.1, "log": true}`,
            `{"low": 2, "high": 10, "int": true}`, each with an optional "step".
        metric: Name of the metric that is judged: returned, or logged last. A single returned number is it.
        method: "grid" for every combination, "random" for independent draws, "optuna" for a study that learns.
        direction: "maximize" or "minimize".
        trials: How many; the whole grid by default, else 20. A larger number with the same key adds trials.
        seed: Makes the parameters of each trial repeatable; for Optuna with `parallel=1`.
        parallel: How many trials run at once.
        task_runner: "threads", "processes", "dask", "ray", or a task runner of your own.
        key: Name of the sweep in its experiment, by which a later sweep continues it. By default the flow run's id,
            so that a retried or resumed flow run continues.
        experiment: Name of the experiment of the sweep's run and its trials.
        fixed: Parameters that every trial gets as well.
        max_seconds: After so many seconds no trial starts; those that run finish.
        stop_at: When a trial reaches this value no further one starts.
        max_failures: When so many trials of this execution have failed no further one starts, and the sweep fails.

    Returns:
        The trials and the best of them.

    Raises:
        InvalidInputError: a space, key, function or task runner that cannot be meant; nothing has started.
        StoreUnavailableError: the store, which is the sweep's memory, is away.
    """
    run = ml.current_run()
    plan = Plan(experiment, check_key(key or run.run_id), parse_space(space), method, metric, direction, seed)
    chosen = chooser(plan, trials)
    _check_call(train, plan, fixed or {})
    runner = task_runner_of(task_runner, parallel)
    run.flush()
    known = remembered(open_store(), plan)
    limits = Limits(parallel, max_seconds, stop_at, max_failures)
    loop = Loop(plan, chosen, runner, run, train=train, fixed=fixed or {}, limits=limits)
    try:
        loop.run(known)
    finally:
        result = SweepResult.of(plan, run.run_id, loop.trials, loop.stopped)
        publish(plan, run, result)
    if loop.too_many_failures:
        return Failed(message=f"{loop.failures} trials failed; the last: {loop.last_error}")
    if result.best is None:
        return Failed(message=f"No trial came to a finite {metric!r}. {loop.last_error}".rstrip())
    return result


def _check_call(train: Any, plan: Plan, fixed: Mapping[str, Any]) -> None:
    """Find a wrong name now, not in every trial."""
    if twice := plan.space.keys() & fixed.keys():
        raise InvalidInputError(f"{sorted(twice)} are in the space and fixed; leave them out of one.")
    function = load_train(train)
    try:
        inspect.signature(getattr(function, "fn", function)).bind(**dict.fromkeys([*plan.space, *fixed]))
    except TypeError as error:
        raise InvalidInputError(f"The training function cannot be called with this space: {error}.") from error
