"""`prefect-ml reproduce`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from prefect_ml.cli.output import Json, complaints, print_json, print_table
from prefect_ml.errors import PrefectMLError

if TYPE_CHECKING:
    from prefect_ml.projects.request import Request


def reproduce(
    what: str,
    *,
    work_pool: str | None = None,
    tolerance: float = 1e-9,
    experiment: str | None = None,
    json: Json = False,
) -> None:
    """Run a project again as it ran before, and show what of the new run is equal.

    Exit code 0: everything is. 1: something is not.

    Args:
        what: The id of a run, or a model that it made, such as models:/churn/7.
        work_pool: Prefect's work pool to run on; here by default.
        tolerance: Relative difference up to which metrics are equal.
        experiment: Name of the experiment of the new run; the old one's by default.
        json: Whether to print JSON; the output of the command goes to standard error then.
    """
    from prefect_ml.projects.reproduce import compare, request_of, run_of  # noqa: PLC0415
    from prefect_ml.store import open_store  # noqa: PLC0415

    store = open_store()
    before = run_of(store, what)
    request = request_of(store, before)
    name = experiment or store.get_experiment(store.get_run(before).experiment_id).name
    request = replace(request, experiment=name)
    after = _here(request, as_json=json) if work_pool is None else _there(request, name, work_pool)
    report = compare(store, before, after, tolerance=tolerance)
    if json:
        print_json({"before": before, "after": after, "equal": report.equal, "rows": report.rows})
    else:
        print_table(
            f"Run {before} again, as {after}",
            ("what", "name", "before", "after", "equal"),
            ((row.kind, row.name, row.before, row.after, "yes" if row.equal else "NO") for row in report.rows),
        )
    sys.exit(0 if report.equal else 1)


def _here(request: Request, *, as_json: bool) -> str:
    from prefect_ml.cli.projects import run_project_here  # noqa: PLC0415

    return run_project_here(request, as_json=as_json)[0]


def _there(request: Request, experiment: str, work_pool: str) -> str:
    from prefect_ml.flows.project_on_pool import submit_project  # noqa: PLC0415 (loads Prefect)

    told = submit_project(
        work_pool, request.uri, request.entry_point, parameters=dict(request.parameters), lock=request.lock,
        environment=request.environment, experiment=experiment, wait=True,
    )  # fmt: skip
    if told["state"] != "Completed":
        raise PrefectMLError(f"The flow run {told['flow_run']} ended {told['state']}: {told['message']}")
    complaints.print(f"Flow run {told['flow_run']}", markup=False, highlight=False)
    return str(told["run_id"])
