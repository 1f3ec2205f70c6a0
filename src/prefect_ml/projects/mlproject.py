"""The file `MLproject`, as MLflow's projects write it (https://mlflow.org/docs/latest/ml/projects/)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import InvalidInputError
from prefect_ml.projects import conda, python_env
from prefect_ml.projects.definition import DockerEnvironment, EntryPoint, Environment, Project, parameter
from prefect_ml.projects.small_yaml import read_yaml

if TYPE_CHECKING:
    from pathlib import Path

FILE = "MLproject"
_ENVIRONMENTS = ("python_env", "conda_env", "docker_env")


def read_mlproject(folder: Path) -> Project | None:
    """The project of a folder's MLproject file; None when it has none.

    Raises:
        InvalidInputError: the file is none.
    """
    path = next((folder / name for name in (FILE, FILE.lower()) if (folder / name).is_file()), None)
    if path is None:
        return None
    content = read_yaml(path)
    points = {} if content.get("entry_points") is None else content["entry_points"]
    if not isinstance(points, dict):
        raise InvalidInputError(f"`entry_points` in {path.name} must be a mapping of names to commands.")
    return Project(
        str(content.get("name") or folder.name),
        {str(name): _entry_point(str(name), about) for name, about in points.items()},
        _environment(folder, content),
    )


def _entry_point(name: str, about: Any) -> EntryPoint:
    if not isinstance(about, dict) or not isinstance(about.get("command"), str) or not about["command"].strip():
        raise InvalidInputError(f"The entry point {name!r} needs a `command`.")
    parameters = about.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidInputError(f"`parameters` of the entry point {name!r} must be a mapping of names to types.")
    found = {str(key): parameter(str(key), value) for key, value in parameters.items()}
    return EntryPoint(name, about["command"], found)


def _environment(folder: Path, content: dict[str, Any]) -> Environment | None:
    given = [name for name in _ENVIRONMENTS if content.get(name)]
    if len(given) > 1:
        raise InvalidInputError(f"An MLproject has one environment, not {' and '.join(given)}; leave out the others.")
    match given:
        case ["python_env"]:
            return python_env.read(folder, resolve(folder, str(content["python_env"])))
        case ["conda_env"]:
            return conda.read(resolve(folder, str(content["conda_env"])))
        case ["docker_env"]:
            return _docker(content["docker_env"])
        case _:
            return None


def _docker(about: Any) -> DockerEnvironment:
    if not isinstance(about, dict) or not isinstance(about.get("image"), str) or about["image"].startswith("-"):
        raise InvalidInputError("`docker_env` needs an `image`, by name.")
    volumes, variables = about.get("volumes") or [], about.get("environment") or []
    if not isinstance(volumes, list) or not isinstance(variables, list):
        raise InvalidInputError("`volumes` and `environment` of `docker_env` are lists.")
    environment: list[str | tuple[str, str]] = []
    for variable in variables:
        if isinstance(variable, list) and len(variable) == 2:  # noqa: PLR2004 - a name and a value
            environment.append((str(variable[0]), str(variable[1])))
        else:
            environment.append(str(variable))
    return DockerEnvironment(about["image"], tuple(map(str, volumes)), tuple(environment))
