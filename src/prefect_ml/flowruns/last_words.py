"""`prefect_ml.tracking.reaper` for processes that executed flow runs: it asks Prefect how they ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_ml.entities import RunStatus
from prefect_ml.flowruns.verdict import verdict
from prefect_ml.tracking.reaper import end_left

# Told of each attempt: the API that orchestrates it, "" when that lived and died with the process.
API = "prefect_api_url"


def how_it_ended(entry: Mapping[str, str]) -> RunStatus:
    """The status with which an attempt of a dead process ended."""
    if not entry.get(API):
        return RunStatus.KILLED
    with temporary_settings({PREFECT_API_URL: entry[API]}):
        return verdict(entry["run_id"], entry["attempt_id"])


def facts() -> dict[str, str]:
    """What the process that outlives this one must know to ask."""
    return {API: PREFECT_API_URL.value() or ""}


if __name__ == "__main__":
    told = json.load(sys.stdin)
    end_left(told["entries"], told["died_at"], how_it_ended)
