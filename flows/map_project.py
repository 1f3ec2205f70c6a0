"""The flow that runs an entry point of a project with many parameter sets, each a child run."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed

import prefect_ml as ml
from prefect_ml.errors import InvalidInputError
from prefect_ml.flows.runners import task_runner_of
from prefect_ml.projects.environments import Built
from prefect_ml.projects.plan import build_environment, make_plan
from prefect_ml.projects.request import Request
from prefect_ml.projects.run import ProjectFailedError, execute, keep_source, record_before
from prefect_ml.server.beside import served_beside
from prefect_ml.settings import Settings
from prefect_ml.tracking.run import ActiveRun
from prefect_ml.tracking.start import started

_MOST_SETS = 10_000


@ml.track(experiment="{experiment}", wrapper=True)
@flow(name="map-project", flow_run_name="{entry_point} of {uri} with many")
def map_project(  # noqa: PLR0917  the parameters of a flow are a form, filled in by name
    uri: str,
    parameter_sets: list[dict[str, Any]],
    entry_point: str = "main",
    revision: str | None = None,
    experiment: str = "Default",
    environment: Literal["auto", "local"] = "auto",
    task_runner: Any = "threads",
    parallel: int = 4,
) -> Any:
    """Run an entry point with each of many parameter sets; the source is pinned and the environment built once.

    All sets are checked before anything starts. Those that fail do not stop the others; the flow run fails at the end.

    Args:
        uri: The project, as `run_project` takes it.
        parameter_sets: Values by name, for each run.
        entry_point: Its name, or a script of the project.
        revision: Branch, tag or commit, where the URI names none.
        experiment: Name of the experiment of the runs.
        environment: "auto" for what the project asks for, "local" for the Python that runs this.
        task_runner: "threads", "processes", "dask", "ray", or a task runner of your own. On other machines a folder and
            the cache must be reached under the same path; a repository is fetched where it is not there.
        parallel: How many run at once.

    Returns:
        For each set `run_id`, `exit_code` and `parameters`, in their order.

    Raises:
        InvalidInputError: something that cannot be meant; nothing has started.
        ArtifactError: the environment cannot be built.
    """
    if not 1 <= len(parameter_sets) <= _MOST_SETS:
        raise InvalidInputError(f"Give 1 to {_MOST_SETS} parameter sets, not {len(parameter_sets)}.")
    run, settings = ml.current_run(), Settings()
    first = Request(uri, entry_point, parameter_sets[0], revision, environment, experiment=experiment)
    plan = make_plan(first, settings)
    pinned = replace(first, uri=str(plan.source.uri), revision=None)
    requests = [replace(pinned, parameters=each) for each in parameter_sets]
    for request in requests[1:]:
        make_plan(request, settings)
    built = build_environment(plan, pinned, settings, get_run_logger().info)
    bundle = keep_source(plan, pinned, settings, get_run_logger().warning)
    run.flush()
    with task_runner_of(task_runner, parallel) as runner:
        futures = [
            runner.submit(run_one, {"request": request, "built": built, "bundle": bundle, "parent": run})
            for request in requests
        ]
        pairs = zip(futures, requests, strict=True)
        ended = [_ended(future.result(raise_on_failure=False), request) for future, request in pairs]
    failed = [each for each in ended if each["exit_code"] != 0]
    get_run_logger().info("%d of %d sets ended well.", len(ended) - len(failed), len(ended))
    if failed:
        return Failed(
            message=f"{len(failed)} of {len(ended)} parameter sets failed; the first: {failed[0]}", data=ended
        )
    return ended


@task(cache_policy=NO_CACHE, task_run_name="{request.parameters}", persist_result=False)
def run_one(request: Request, built: Built, bundle: str | None, parent: ActiveRun) -> dict[str, Any]:
    """Run one set as a child run, wherever the task runner runs it."""
    settings, logger = Settings(), get_run_logger()
    plan = make_plan(request, settings)
    experiment, name = request.experiment, f"{plan.entry_point.name}-{uuid.uuid4().hex[:8]}"
    with started(experiment, name, parent=parent, tags=None, flow_run_id=None, own_code=False) as run:
        record_before(run, plan, bundle)
        ended = execute(
            run, plan, built, request, settings, tell=lambda line: logger.info("%s", line), serve=served_beside
        )
        if ended.code != 0:
            raise ProjectFailedError(request.entry_point, ended)
    return {"run_id": run.run_id, "exit_code": 0, "parameters": dict(request.parameters)}


def _ended(outcome: Any, request: Request) -> Mapping[str, Any]:
    if not isinstance(outcome, BaseException):
        found: Mapping[str, Any] = outcome
        return found
    code = outcome.ended.code if isinstance(outcome, ProjectFailedError) else 1
    return {"run_id": None, "exit_code": code, "parameters": dict(request.parameters), "error": str(outcome)}
