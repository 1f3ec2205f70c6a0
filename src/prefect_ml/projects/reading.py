"""Reading the project of a folder: its MLproject file, its pyproject.toml, or one script or notebook."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.projects import python_env
from prefect_ml.projects.code_entries import code_entry
from prefect_ml.projects.definition import EntryPoint, Environment, Project, PythonEnvironment, parameter
from prefect_ml.projects.mlproject import read_mlproject
from prefect_ml.projects.small_yaml import MOST_BYTES

if TYPE_CHECKING:
    from pathlib import Path

_PYPROJECT = "pyproject.toml"
_UV_LOCK = "uv.lock"


def read_project(folder: Path, entry_point: str = "main") -> Project:
    """The project of a folder, in which the entry point is, if it is anywhere.

    Args:
        folder: root of the project.
        entry_point: name of an entry point, or of code in the folder; see `code_entry`.

    Raises:
        InvalidInputError: a file of the project cannot be read as what it is.
        NotFoundError: the folder is none, or nothing in it says how to run this.
    """
    if not folder.is_dir():
        raise NotFoundError(f"There is no folder {str(folder)!r}.")
    project = read_mlproject(folder) or _of_pyproject(folder) or Project(folder.name, {})
    if entry_point not in project.entry_points and (code := code_entry(folder, entry_point)) is not None:
        entry, own = code
        points = {**project.entry_points, entry_point: entry}
        project = replace(project, entry_points=points, environment=own or project.environment)
    if not project.entry_points:
        raise NotFoundError(
            f"Nothing in {folder.name!r} says how to run {entry_point!r}: it has no MLproject file, no "
            "[tool.prefect-ml.entry-points] in a pyproject.toml, and no script of that name."
        )
    return project if project.environment is not None else replace(project, environment=_found(folder))


def _found(folder: Path) -> Environment | None:
    """The environment of a folder whose project file names none."""
    if (folder / "python_env.yaml").is_file():
        return python_env.read(folder, folder / "python_env.yaml")
    return python_env.of_requirements(folder) if (folder / python_env.REQUIREMENTS).is_file() else None


def _of_pyproject(folder: Path) -> Project | None:
    path = folder / _PYPROJECT
    if not path.is_file():
        return None
    content = _toml(path)
    tools = content.get("tool") or {}
    about = tools.get("prefect-ml") if isinstance(tools, dict) else None
    points = about.get("entry-points") if isinstance(about, dict) else None
    if points is not None and not isinstance(points, dict):
        raise InvalidInputError(f"[tool.prefect-ml.entry-points] in {_PYPROJECT} must be a table.")
    named = content.get("project") or {}
    name = str(named.get("name") or folder.name) if isinstance(named, dict) else folder.name
    found = {str(key): _entry_point(str(key), value) for key, value in (points or {}).items()}
    environment: Environment | None = None
    if isinstance(named, dict) and "dependencies" in named:
        environment = replace(python_env.of_pyproject(content), locked=(folder / _UV_LOCK).is_file())
    return Project(name, found, environment) if found or isinstance(environment, PythonEnvironment) else None


def _entry_point(name: str, about: Any) -> EntryPoint:
    """A command, or a table of `command` and `parameters`."""
    given = {"command": about} if isinstance(about, str) else about
    if not isinstance(given, dict) or not isinstance(given.get("command"), str):
        raise InvalidInputError(f"The entry point {name!r} in {_PYPROJECT} is a command, or a table with `command`.")
    parameters = given.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidInputError(f"`parameters` of {name!r} in {_PYPROJECT} must be a table.")
    return EntryPoint(name, given["command"], {key: parameter(key, value) for key, value in parameters.items()})


def _toml(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only those who use it pay for its import

    try:
        with path.open("rb") as stream:
            text = stream.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise InvalidInputError(f"{path.name} is longer than {MOST_BYTES} bytes.")
        return tomllib.loads(text.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInputError(f"{path.name} cannot be read: {str(error)[:300]}") from error
