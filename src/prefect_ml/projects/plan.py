"""From a request to what will run: source, project and values, all of it checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import InvalidInputError
from prefect_ml.projects.bundle import FOLDER
from prefect_ml.projects.command import fill
from prefect_ml.projects.definition import DockerEnvironment, PythonEnvironment
from prefect_ml.projects.downloads import name_of
from prefect_ml.projects.environments import build
from prefect_ml.projects.parameters import is_url, resolve_parameters
from prefect_ml.projects.progress import silent
from prefect_ml.projects.reading import read_project
from prefect_ml.projects.source import fetch_source
from prefect_ml.projects.uri import ProjectUri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.artifacts import ArtifactStore
    from prefect_ml.projects.definition import EntryPoint, Environment
    from prefect_ml.projects.environments import Built
    from prefect_ml.projects.progress import Tell
    from prefect_ml.projects.request import Request
    from prefect_ml.projects.source import Source
    from prefect_ml.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """What will run.

    Attributes:
        source: the files.
        project: its name.
        entry_point: what of it.
        values: of the parameters, as text.
        environment: that it asks for; None for the Python that runs this.
        downloads: parameters of type `path` that are URLs, to be fetched first.
    """

    source: Source
    project: str
    entry_point: EntryPoint
    values: Mapping[str, str]
    environment: Environment | None
    downloads: tuple[str, ...] = field(default=())


def make_plan(request: Request, settings: Settings, tell: Tell = silent) -> Plan:
    """Fetch the source, read the project, and check the values; `tell` gets a line before what takes long.

    Raises:
        InvalidInputError: the URI, a file of the project, or a value cannot be meant.
        NotFoundError: something that is named is not there.
    """
    uri = ProjectUri.parse(request.uri, request.revision)
    source = fetch_source(uri, settings.cache_folder, lambda: bundles_of(settings), tell)
    project = read_project(source.folder, request.entry_point)
    entry_point = project.entry_point(request.entry_point)
    values = resolve_parameters(entry_point, request.parameters, folder=source.folder)
    fill(entry_point, values)  # a command that cannot be filled is known now
    wanted = project.environment if request.environment == "auto" else None
    if wanted is None and request.environment == "auto" and request.lock is not None:
        wanted = PythonEnvironment()  # the lock says all of it
    if request.environment == "local" and isinstance(project.environment, DockerEnvironment):
        raise InvalidInputError("The project runs in an image; run it on a work pool of type docker or kubernetes.")
    downloads = tuple(
        name for name, each in entry_point.parameters.items() if each.type == "path" and is_url(values[name])
    )
    for name in downloads:
        name_of(values[name])  # one that cannot be fetched is known now
    return Plan(source, project.name, entry_point, values, wanted, downloads)


def build_environment(plan: Plan, request: Request, settings: Settings, tell: Tell = silent) -> Built:
    """The environment of a plan; see `environments.build`."""
    folder = Path(plan.source.folder)
    cache = settings.cache_folder
    return build(plan.environment, folder, cache, refresh=request.refresh, kept=request.lock, tell=tell)


def bundles_of(settings: Settings) -> ArtifactStore:
    """Where the bundles of projects are kept: below the artifacts of the store."""
    url = settings.resolved_store_url
    if url.lower().startswith(("http://", "https://")):
        return open_artifacts(f"mlflow-artifacts:/{FOLDER}")
    return open_artifacts(f"{settings.resolved_artifact_root.rstrip('/')}/{FOLDER}")
