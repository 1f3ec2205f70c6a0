"""`prefect-ml run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from prefect_ml.cli.output import Json
from prefect_ml.cli.projects import pairs, run_asked, tell


def run(
    uri: str,
    *,
    entry_point: Annotated[str, Parameter(name=("--entry-point", "-e"))] = "main",
    param: Annotated[tuple[str, ...], Parameter(name=("--param", "-P"))] = (),
    revision: Annotated[str | None, Parameter(name=("--revision", "-v"))] = None,
    experiment: str = "Default",
    name: str | None = None,
    environment: Literal["auto", "local"] = "auto",
    refresh: bool = False,
    lock: Path | None = None,
    secret: tuple[str, ...] = (),
    work_pool: str | None = None,
    wait: bool = True,
    flow: bool = False,
    grace: float = 10.0,
    json: Json = False,
) -> None:
    """Run an entry point of a project here, or on a work pool.

    Args:
        uri: A folder, or a git repository: URL[@branch, tag or commit][#subdirectory].
        entry_point: Its name, or a script or notebook of the project.
        param: A parameter, NAME=VALUE; as often as there are parameters.
        revision: Branch, tag or commit, where the URI names none.
        experiment: Name of the experiment of the run.
        name: Name of the run; made up by default.
        environment: "auto" for what the project asks for, "local" for the Python that runs this.
        refresh: Resolve the newest versions that fit, instead of those of an earlier run.
        lock: File of a lock to build the environment from instead.
        secret: A variable of the command with the name of a Secret block, VARIABLE=BLOCK; as often as needed. It runs
            as a flow then.
        work_pool: Prefect's work pool to run on; a folder goes there as a bundle.
        wait: Whether to wait for the end on a work pool, and to show its state.
        flow: Run here as a Prefect flow run, seen in Prefect's UI.
        grace: Seconds between the request to stop and the kill.
        json: Whether to print JSON at the end; the output of the command goes to standard error then.
    """
    asked: dict[str, Any] = {
        "uri": uri, "entry_point": entry_point, "parameters": pairs(param, "-P"), "revision": revision,
        "experiment": experiment, "environment": environment, "refresh": refresh,
        "lock": None if lock is None else lock.read_text(), "grace": grace,
    }  # fmt: skip
    secrets = pairs(secret, "--secret")
    if work_pool is not None:
        from prefect_ml.flows.project_on_pool import submit_project  # noqa: PLC0415 (loads Prefect)

        told = submit_project(work_pool, **asked, secrets=secrets, name=name, wait=wait)
        tell(told, as_json=json)
        sys.exit(0 if told["state"] in {"Completed", "Scheduled", "Pending", "Running"} else 1)
    if flow or secrets:
        from prefect_ml.flows.run_project import run_project  # noqa: PLC0415 (loads Prefect)

        tell(run_project(**asked, secrets=secrets), as_json=json)
        return
    run_asked(asked, name, as_json=json)
