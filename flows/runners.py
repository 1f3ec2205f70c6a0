"""The task runners that people choose by name."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

from prefect.task_runners import TaskRunner

from prefect_ml.errors import InvalidInputError

_MOST_PARALLEL = 1000
# Dask and Ray are extras, imported when asked for.
_RUNNERS: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "threads": ("prefect.task_runners:ThreadPoolTaskRunner", lambda n: {"max_workers": n}),
    "processes": ("prefect.task_runners:ProcessPoolTaskRunner", lambda n: {"max_workers": n}),
    "dask": ("prefect_dask:DaskTaskRunner", lambda n: {"cluster_kwargs": {"n_workers": n, "threads_per_worker": 1}}),
    "ray": ("prefect_ray:RayTaskRunner", lambda n: {"init_kwargs": {"num_cpus": n}}),
}


def task_runner_of(given: Any, parallel: int) -> TaskRunner[Any]:
    """The task runner of a name, for so many tasks at once, or a fresh one like that which is given.

    Raises:
        InvalidInputError: another name, a library that is not installed, or a number that nobody means.
    """
    if not 1 <= parallel <= _MOST_PARALLEL:
        raise InvalidInputError(f"1 to {_MOST_PARALLEL} tasks run at once, not {parallel}.")
    if isinstance(given, TaskRunner):
        return given.duplicate()
    if not isinstance(given, str) or given not in _RUNNERS:
        raise InvalidInputError(
            f'The task runner is "threads", "processes", "dask", "ray" or a TaskRunner of Prefect, not {given!r}.'
        )
    name, arguments = _RUNNERS[given]
    try:
        made: TaskRunner[Any] = pkgutil.resolve_name(name)(**arguments(parallel))
    except ImportError as error:
        raise InvalidInputError(
            f'The task runner {given!r} needs an extra: pip install "prefect-ml[{given}]".'
        ) from error
    return made
