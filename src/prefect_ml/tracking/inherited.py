"""The run that started this process, which a project's command continues."""

from __future__ import annotations

import os
import re

from prefect_ml.tracking.run import ActiveRun

VARIABLE = "PREFECT_ML_RUN_ID"
_RUN_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


def inherited() -> ActiveRun | None:
    """The run that the environment names, None when it names none."""
    run_id = os.environ.get(VARIABLE, "")
    return ActiveRun(run_id) if _RUN_ID.fullmatch(run_id) else None
