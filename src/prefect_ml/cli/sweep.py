"""`prefect-ml sweep`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from cyclopts import Parameter

from prefect_ml.cli.output import Json, console, print_json, print_table
from prefect_ml.errors import InvalidInputError


class _Numbers(yaml.SafeLoader):
    """Reads 1e-5 as a number, as YAML 1.2 and JSON do; for YAML 1.1 it is a text."""


_Numbers.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def sweep(
    train: str,
    *,
    space: Path,
    metric: str,
    method: Literal["grid", "random", "optuna"] = "grid",
    direction: Literal["maximize", "minimize"] = "maximize",
    trials: int | None = None,
    seed: int = 0,
    parallel: int = 4,
    runner: Annotated[Literal["threads", "processes", "dask", "ray"], Parameter(name="--runner")] = "threads",
    key: str | None = None,
    experiment: str = "sweeps",
    max_seconds: float | None = None,
    stop_at: float | None = None,
    max_failures: int | None = None,
    json: Json = False,
) -> None:
    """Train with many parameters here and show the trials, the best first.

    Args:
        train: The training function, "package.module:function"; the working directory is searched as well.
        space: File of YAML or JSON: for each parameter a list of values, or a range (low, high, log, int, step).
        metric: Name of the metric that is judged.
        method: How parameters are chosen.
        direction: Whether more of the metric is better, or less.
        trials: How many; the whole grid by default, else 20.
        seed: Makes the choice repeatable.
        parallel: How many trials run at once.
        runner: Where trials run.
        key: Name of the sweep, by which the same command continues it.
        experiment: Name of the experiment.
        max_seconds: After so many seconds no trial starts.
        stop_at: No trial starts when one has reached this value.
        max_failures: No trial starts when so many have failed.
        json: Whether to print JSON.
    """
    given = _read(space)
    sys.path.insert(0, str(Path.cwd()))
    from prefect_ml.flows import sweep as flows  # noqa: PLC0415 (loads Prefect)

    state: Any = flows.sweep(
        train, given, metric=metric, method=method, direction=direction, trials=trials, seed=seed, parallel=parallel,
        task_runner=runner, key=key, experiment=experiment, max_seconds=max_seconds, stop_at=stop_at,
        max_failures=max_failures, return_state=True,
    )  # fmt: skip
    result = state.result(raise_on_failure=False)
    if isinstance(result, InvalidInputError):
        raise result
    if not isinstance(result, flows.SweepResult):
        raise InvalidInputError(f"The sweep failed: {state.message or result}")
    if json:
        print_json(result)
        return
    ranked = sorted(result.trials, key=lambda trial: _rank(trial, direction))
    print_table(
        f"Trials of sweep {result.key}",
        ("trial", "status", metric, "params", "run"),
        ((trial.number, trial.status, trial.value, trial.params, trial.run_id) for trial in ranked),
    )
    if result.stopped:
        console.print(f"It ended early: {result.stopped}.", markup=False, highlight=False)


def _rank(trial: Any, direction: str) -> tuple[bool, float]:
    if not trial.comparable:
        return True, trial.number
    return False, -trial.value if direction == "maximize" else trial.value


def _read(path: Path) -> dict[str, Any]:
    try:
        content = _Numbers(path.read_text()).get_single_data()
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"The space cannot be read from {str(path)!r}: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"The file {str(path)!r} must hold a mapping of parameters to lists or ranges.")
    return content
