"""The run that started this process, which a project's command continues."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

from prefect_ml.tracking.run import ActiveRun

VARIABLE = "PREFECT_ML_RUN_ID"
# Of MLflow's client, which takes it out of the environment once it has read it.
_MLFLOW_VARIABLE = "MLFLOW_RUN_ID"
_RUN_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


def inherited() -> ActiveRun | None:
    """The run that the environment names, None when it names none.

    A project's command that starts a step by `mlflow.run` gives the step a run of its own by the variable of MLflow's
    client alone; that is the step's run here, too.
    """
    run_id = os.environ.get(VARIABLE, "")
    if not _RUN_ID.fullmatch(run_id):
        return None
    first = _at_start()
    step = first.get(_MLFLOW_VARIABLE, "")
    return ActiveRun(step if first.get(VARIABLE) == run_id and _RUN_ID.fullmatch(step) else run_id)


@functools.cache
def _at_start() -> dict[str, str]:
    """The two variables as this process was given them, where the system says so; else as they are."""
    try:
        given = Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {name: os.environ[name] for name in (VARIABLE, _MLFLOW_VARIABLE) if name in os.environ}
    pairs = (each.partition("=") for each in given)
    return {name: value for name, _, value in pairs if name in {VARIABLE, _MLFLOW_VARIABLE}}
