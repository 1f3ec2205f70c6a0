"""The flow that runs a project: its source pinned, its environment from a lock, its command within one tracked run."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.cache_policies import NO_CACHE
from prefect.states import Crashed

import prefect_ml as ml
from prefect_ml.entities import RunStatus
from prefect_ml.errors import InvalidInputError
from prefect_ml.projects.environments import Built
from prefect_ml.projects.plan import Plan, build_environment, make_plan
from prefect_ml.projects.process import Ended
from prefect_ml.projects.request import Request
from prefect_ml.projects.run import ProjectFailedError, execute, keep_source, record_before, status_of
from prefect_ml.server.beside import served_beside
from prefect_ml.settings import Settings
from prefect_ml.tracking.run import ActiveRun


@ml.track(experiment="{experiment}", wrapper=True)
@flow(name="run-project", flow_run_name="{entry_point} of {uri}")
def run_project(  # noqa: PLR0917  the parameters of a flow are a form, filled in by name
    uri: str,
    entry_point: str = "main",
    parameters: dict[str, Any] | None = None,
    revision: str | None = None,
    experiment: str = "Default",
    environment: Literal["auto", "local"] = "auto",
    secrets: dict[str, str] | None = None,
    refresh: bool = False,
    lock: str | None = None,
    keep_source: bool = True,
    grace: float = 10.0,
) -> Any:
    """Run an entry point of a project, and record it as one run, which the command's own tracking continues.

    Everything is checked before anything starts. When the flow run is cancelled, or its process dies, all processes of
    the command end.

    Args:
        uri: A folder, or the URL of a git repository: `URL[@branch, tag or commit][#subdirectory]`.
        entry_point: Its name, or a script or notebook of the project.
        parameters: Values by name. They are kept and shown: secrets belong in `secrets`.
        revision: Branch, tag or commit, where the URI names none.
        experiment: Name of the experiment of the run.
        environment: "auto" for what the project asks for, "local" for the Python that runs this.
        secrets: Variables of the command's environment, each with the name of a Secret block.
        refresh: Whether to resolve the newest versions that fit, instead of those of an earlier run.
        lock: Text of a lock to build the environment from instead.
        keep_source: Whether a folder is kept as a bundle, so that the run can be had again.
        grace: Seconds between the request to stop and the kill.

    Returns:
        `run_id`, `uri` (pinned), `entry_point`, `environment` and `exit_code`.

    Raises:
        InvalidInputError: something that cannot be meant; nothing has started.
        NotFoundError: a folder, revision, entry point, file or block that is not there.
        ArtifactError: the environment cannot be built.
        ProjectFailedError: the command failed.
    """
    run = ml.current_run()
    request = Request(
        uri, entry_point, parameters or {}, revision, environment, refresh=refresh, lock=lock,
        secrets=_secrets(secrets or {}), keep_source=keep_source, grace=grace, experiment=experiment,
    )  # fmt: skip
    plan = prepare(request, run)
    built = provide_environment(plan, request)
    ended = run_entry_point(run, plan, built, request)
    if status_of(ended) is RunStatus.KILLED:
        return Crashed(message=str(ProjectFailedError(entry_point, ended)))
    if ended.code != 0:
        raise ProjectFailedError(entry_point, ended)
    return {
        "run_id": run.run_id,
        "uri": str(plan.source.uri),
        "entry_point": entry_point,
        "environment": built.kind,
        "exit_code": ended.code,
    }


@task(cache_policy=NO_CACHE, task_run_name="fetch and check {request.uri}")
def prepare(request: Request, run: ActiveRun) -> Plan:
    """Fetch the source, check the parameters, and record both."""
    settings, logger = Settings(), get_run_logger()
    plan = make_plan(request, settings, logger.info)
    record_before(run, plan, keep_source(plan, request, settings, logger.warning))
    return plan


@task(cache_policy=NO_CACHE, task_run_name="environment of {plan.project}")
def provide_environment(plan: Plan, request: Request) -> Built:
    """Take the environment from the cache, or build it."""
    return build_environment(plan, request, Settings(), get_run_logger().info)


@task(cache_policy=NO_CACHE, task_run_name="{plan.entry_point.name}")
def run_entry_point(run: ActiveRun, plan: Plan, built: Built, request: Request) -> Ended:
    """Run the command to its end; each line that it writes is a line of the log of this task run."""
    logger = get_run_logger()
    return execute(
        run, plan, built, request, Settings(),
        tell=lambda line: logger.info("%s", line),
        serve=served_beside,
    )  # fmt: skip


def _secrets(names: dict[str, str]) -> dict[str, str]:
    """The values of Secret blocks, by variable."""
    found = {}
    for variable, name in names.items():
        if not variable.isidentifier():
            raise InvalidInputError(f"{variable!r} is no name of an environment variable.")
        try:
            block = Block.load(name if "/" in name else f"secret/{name}")
        except ValueError as error:
            raise InvalidInputError(f"There is no Secret block {name!r}; make one in Prefect's UI.") from error
        if not isinstance(block, Secret):
            raise InvalidInputError(f"The block {name!r} is no Secret block.")
        found[variable] = str(block.get())
    return found
