"""`prefect-ml reproduce`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from prefect_ml.cli.output import Json, complaints, print_json, print_table
from prefect_ml.cli.projects import pairs, run_project_here
from prefect_ml.errors import InvalidInputError, PrefectMLError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.projects.request import Request


def reproduce(
    what: str,
    *,
    work_pool: str | None = None,
    environment: Literal["auto", "build", "local"] = "auto",
    repository: str | None = None,
    tolerance: float = 1e-9,
    experiment: str | None = None,
    secret: tuple[str, ...] = (),
    flow: bool = True,
    json: Json = False,
) -> None:
    """Run again what made a run, with the same source, lock and parameters, and show what of the new run is equal.

    The run is one of a project, or of a tracked flow or script with a commit. Exit code 0: everything is equal. 1:
    something is not.

    Args:
        what: The id of a run, or a model that it made, such as models:/churn/7.
        work_pool: Prefect's work pool to run on; here by default.
        environment: What a tracked flow or script runs in: "auto" for the Python here where it has the same packages,
            else an environment of its own; "build" for that in any case; "local" for the Python here.
        repository: URL or folder of the repository that has the commit, where it is not where it was.
        tolerance: Relative difference up to which metrics are equal.
        experiment: Name of the experiment of the new run; the old one's by default.
        secret: A variable of the command with the name of a Secret block, VARIABLE=BLOCK, for each that the run had.
        flow: Whether it is a Prefect flow run; without, it starts faster.
        json: Whether to print JSON; the output of the command goes to standard error then.
    """
    from prefect_ml.projects.again import again_of, made_by, made_of  # noqa: PLC0415
    from prefect_ml.projects.reproduce import compare, run_of  # noqa: PLC0415
    from prefect_ml.settings import Settings  # noqa: PLC0415
    from prefect_ml.store import open_store  # noqa: PLC0415

    store = open_store()
    before = run_of(store, what)
    # What is installed here is not what is installed there.
    where = "build" if work_pool is not None and environment == "auto" else environment
    again = again_of(store, before, Settings(), where=where, repository=repository)
    name = experiment or store.get_experiment(store.get_run(before).experiment_id).name
    request, secrets = replace(again.request, experiment=name), pairs(secret, "--secret")
    if missing := sorted(set(again.secrets) - set(secrets)):
        raise InvalidInputError(
            f"The run had secrets, which are kept nowhere: give --secret {missing[0]}=BLOCK"
            + "".join(f" --secret {each}=BLOCK" for each in missing[1:])
            + ", with the names of Secret blocks."
        )
    if work_pool is not None:
        outer = _there(request, secrets, work_pool)
    elif flow:
        outer = _flow(request, secrets)
    elif secrets:
        raise InvalidInputError("Secrets come from Prefect's blocks; leave --no-flow out.")
    else:
        outer = _here(request, as_json=json)
    after = made_by(store, again, outer)
    report = compare(store, before, after, tolerance=tolerance, also=made_of(store, again, outer, after))
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
    return run_project_here(request, as_json=as_json)[0]


def _flow(request: Request, secrets: Mapping[str, str]) -> str:
    from prefect_ml.flows.run_project import run_project  # noqa: PLC0415 (loads Prefect)

    return str(run_project(request.uri, request.entry_point, **_asked(request, secrets))["run_id"])


def _there(request: Request, secrets: Mapping[str, str], work_pool: str) -> str:
    from prefect_ml.flows.project_on_pool import submit_project  # noqa: PLC0415 (loads Prefect)

    told = submit_project(work_pool, request.uri, request.entry_point, **_asked(request, secrets), wait=True)
    if told["state"] != "Completed":
        raise PrefectMLError(f"The flow run {told['flow_run']} ended {told['state']}: {told['message']}")
    complaints.print(f"Flow run {told['flow_run']}", markup=False, highlight=False)
    return str(told["run_id"])


def _asked(request: Request, secrets: Mapping[str, str]) -> dict[str, Any]:
    return {
        "secrets": dict(secrets),
        "parameters": dict(request.parameters),
        "lock": request.lock,
        "environment": request.environment,
        "experiment": request.experiment,
    }
