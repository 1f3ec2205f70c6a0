"""Runs as a table of pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from prefect_ml.entities import Run


def runs_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """A row each run, a column each param, metric and tag; `InvalidInputError` when there is no pandas."""
    try:
        import pandas as pd  # noqa: PLC0415 - only those who use it pay for its import
    except ImportError as error:
        raise InvalidInputError('output="pandas" needs pandas: pip install "prefect-ml[sklearn]".') from error
    rows = [
        {
            "run_id": run.run_id,
            "experiment_id": run.experiment_id,
            "name": run.name,
            "status": str(run.status),
            "start_time": pd.to_datetime(run.start_time, unit="ms", utc=True),
            "end_time": None if run.end_time is None else pd.to_datetime(run.end_time, unit="ms", utc=True),
            "artifact_uri": run.artifact_uri,
            **{f"metrics.{key}": value for key, value in run.metrics.items()},
            **{f"params.{key}": value for key, value in run.params.items()},
            **{f"tags.{key}": value for key, value in run.tags.items()},
        }
        for run in runs
    ]
    fixed = ("run_id", "experiment_id", "name", "status", "start_time", "end_time", "artifact_uri")
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(fixed))
