"""Runs, their curves, attempts and steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from prefect_ml.api.here import fresh_store
from prefect_ml.entities import Attempt, Metric, Run, Step, ViewType
from prefect_ml.errors import InvalidInputError
from prefect_ml.store.experiment_ids import experiment_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_PAGE = 1000


def get_run(run_id: str) -> Run:
    """A run with its params, tags and latest metrics; `NotFoundError` when there is none."""
    return fresh_store().get_run(run_id)


def get_metric_history(run_id: str, key: str) -> Sequence[Metric]:
    """All points of a curve, ordered by step, time and value."""
    return fresh_store().get_metric_history(run_id, key).items


def get_attempts(run_id: str) -> Sequence[Attempt]:
    """The attempts of a run in order: a retried, resumed or rescheduled one has several; `NotFoundError` when none."""
    return fresh_store().get_attempts(run_id)


def get_steps(run_id: str) -> Sequence[Step]:
    """The task runs of a flow's run, by start, and what each recorded; brought up to date where Prefect is reached.

    Raises:
        NotFoundError: there is no such run.
    """
    from prefect_ml.flowruns import steps  # noqa: PLC0415 - only those who use it pay for Prefect's import

    return steps.get_steps(fresh_store(), run_id)


@overload
def search_runs(
    experiments: str | Sequence[str] | None = None,
    filter: str = "",
    *,
    order_by: Sequence[str] = (),
    max_results: int = _PAGE,
    view_type: ViewType = ViewType.ACTIVE_ONLY,
    output: Literal["runs"] = "runs",
) -> list[Run]: ...
@overload
def search_runs(
    experiments: str | Sequence[str] | None = None,
    filter: str = "",
    *,
    order_by: Sequence[str] = (),
    max_results: int = _PAGE,
    view_type: ViewType = ViewType.ACTIVE_ONLY,
    output: Literal["pandas"],
) -> pd.DataFrame: ...
def search_runs(
    experiments: str | Sequence[str] | None = None,
    filter: str = "",
    *,
    order_by: Sequence[str] = (),
    max_results: int = _PAGE,
    view_type: ViewType = ViewType.ACTIVE_ONLY,
    output: Literal["runs", "pandas"] = "runs",
) -> list[Run] | pd.DataFrame:
    """Find runs, newest first unless ordered otherwise.

    Args:
        experiments: names or ids; all active ones by default.
        filter: in MLflow's language, for example "metrics.auc > 0.9 and params.c = '1.0'".
        order_by: for example ["metrics.auc DESC"].
        max_results: how many at most.
        view_type: active runs, deleted ones, or both.
        output: "runs" for a list of `Run`, "pandas" for a DataFrame, a column each param, metric and tag.

    Raises:
        InvalidFilterError: `filter` or `order_by` does not parse.
        NotFoundError: there is no such experiment.
    """
    if output not in ("runs", "pandas"):
        raise InvalidInputError(f'output is "runs" or "pandas", not {output!r}.')
    store = fresh_store()
    ids = experiment_ids(store, experiments)
    found: list[Run] = []
    token: str | None = None
    while len(found) < max_results and ids:
        size = min(_PAGE, max_results - len(found))
        page = store.search_runs(ids, filter, order_by, view_type, size, token)
        found += page.items
        token = page.next_token
        if token is None:
            break
    if output == "runs":
        return found
    from prefect_ml.tracking.run_table import runs_frame  # noqa: PLC0415 - only those who use it pay for its import

    return runs_frame(found)
