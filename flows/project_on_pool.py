"""Running a project on a work pool: a deployment of the flow `run-project` there, and one flow run of it."""

from __future__ import annotations

import os
import time
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import WorkPool
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from prefect_ml.errors import InvalidInputError
from prefect_ml.flows.deployments import deploy_one
from prefect_ml.projects.bundle import put_bundle
from prefect_ml.projects.command import fill
from prefect_ml.projects.definition import DockerEnvironment
from prefect_ml.projects.plan import bundles_of
from prefect_ml.projects.reading import read_project
from prefect_ml.projects.source import fetch_source
from prefect_ml.projects.uri import ProjectKind, ProjectUri
from prefect_ml.settings import Settings
from prefect_ml.tracking.capture.redact import mentions_secrets

_LOOK_SECONDS = 2.0
# Pools whose jobs run in an image, and whether their jobs take volumes as Docker writes them.
_IMAGE_POOLS = {"docker": True, "kubernetes": False}


def submit_project(
    work_pool: str, uri: str, entry_point: str = "main", *, name: str | None = None, wait: bool = False, **asked: Any
) -> dict[str, Any]:
    """Run a project on a work pool.

    A repository is run at the commit that its revision is now. A folder goes there as a bundle in the artifact store,
    so what is not committed runs, too. The pool's machines need prefect-ml, and the settings of the store: give them
    to the pool as variables of its jobs, not to the flow run.

    Args:
        work_pool: its name.
        uri: the project.
        entry_point: what of it.
        name: of the flow run; made up by default.
        wait: whether to wait for its end.
        asked: the other parameters of `run_project`.

    Returns:
        `run_id`, `flow_run`, `state` and its `message`.

    Raises:
        InvalidInputError: there is no such pool, or it cannot run the project.
        NotFoundError: something of the project is not there.
    """
    pinned, job_variables = _prepared(work_pool, uri, entry_point, asked)
    parameters = {"uri": pinned, "entry_point": entry_point, **asked, "revision": None}
    if "image" in job_variables:
        parameters["environment"] = "local"
    about = "Run an entry point of a project on this pool."
    started: Any = run_deployment(
        deploy_one(f"on-{work_pool}", "run_project.run_project", about, "projects", work_pool),
        parameters={key: value for key, value in parameters.items() if value is not None},
        job_variables=job_variables,
        flow_run_name=name,
        timeout=0,
        as_subflow=False,
    )
    with get_client(sync_client=True) as client:
        state = _awaited(client, started.id) if wait else started.state
    return {
        "run_id": started.id.hex,
        "flow_run": str(started.id),
        "state": state.name if state is not None else "Scheduled",
        "message": state.message if state is not None else None,
    }


def job_variables_of(pool_type: str, environment: DockerEnvironment) -> dict[str, Any]:
    """What a job of a pool is told of the image that a project runs in.

    Raises:
        InvalidInputError: jobs of that type run in no image, or take no volumes, or a variable that is to be taken from
            here is a secret by its name.
    """
    if pool_type not in _IMAGE_POOLS:
        raise InvalidInputError(
            f"The project runs in the image {environment.image!r}, and a pool of type {pool_type} runs none; use one "
            f"of type {' or '.join(_IMAGE_POOLS)}."
        )
    from_here = [each for each in environment.environment if isinstance(each, str) and each in os.environ]
    if secret := [name for name in from_here if mentions_secrets(name)]:
        raise InvalidInputError(
            f"The docker_env takes {', '.join(secret)} from here, and what jobs are told is kept and shown by Prefect: "
            "give secrets by --secret from Secret blocks, or to the pool's own job template."
        )
    given = [each for each in environment.environment if isinstance(each, tuple)]
    variables = dict(given) | {name: os.environ[name] for name in from_here}
    found: dict[str, Any] = {"image": environment.image}
    if variables:
        found["env"] = variables
    if environment.volumes:
        if not _IMAGE_POOLS[pool_type]:
            raise InvalidInputError(
                f"A pool of type {pool_type} takes no volumes of a docker_env; name them in the pool's job template."
            )
        found["volumes"] = list(environment.volumes)
    return found


def _prepared(work_pool: str, text: str, entry_point: str, asked: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The project as the pool gets it, and its jobs' variables; what is wrong with it is known before it is sent."""
    settings = Settings()
    uri = ProjectUri.parse(text, asked.get("revision"))
    source = fetch_source(uri, settings.cache_folder, lambda: bundles_of(settings))
    project = read_project(source.folder, entry_point)
    found = project.entry_point(entry_point)
    given = asked.get("parameters") or {}
    missing = [name for name, each in found.parameters.items() if each.default is None and given.get(name) is None]
    if missing:
        raise InvalidInputError(f"The entry point {entry_point!r} cannot run: give {', '.join(missing)}.")
    fill(found, {**dict.fromkeys(found.parameters, "x"), **dict.fromkeys(given, "x")})
    with get_client(sync_client=True) as client:
        pool = _pool(client, work_pool)
    variables = {}
    if isinstance(project.environment, DockerEnvironment) and asked.get("environment") != "local":
        variables = job_variables_of(pool.type, project.environment)
    if uri.kind is not ProjectKind.FOLDER:
        return str(source.uri), variables
    digest = put_bundle(source.root, bundles_of(settings))
    return str(ProjectUri(ProjectKind.BUNDLE, digest, None, uri.subdirectory)), variables


def _pool(client: SyncPrefectClient, name: str) -> WorkPool:
    try:
        return client.read_work_pool(name)
    except ObjectNotFound:
        raise InvalidInputError(
            f"There is no work pool {name!r}; make one with: prefect work-pool create --type process {name}"
        ) from None


def _awaited(client: SyncPrefectClient, flow_run_id: Any) -> Any:
    while True:
        state = client.read_flow_run(flow_run_id).state
        if state is not None and state.is_final():
            return state
        time.sleep(_LOOK_SECONDS)
