"""conda's environment files: by uv where they ask for nothing but Python and pip, else by conda itself."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.projects.definition import CondaEnvironment, PythonEnvironment
from prefect_ml.projects.python_env import checked, checked_python
from prefect_ml.projects.small_yaml import read_yaml

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = ("micromamba", "mamba", "conda")
_PYTHON = re.compile(r"python\s*(?:={1,2}|>=)\s*(3(?:\.\d{1,2}){1,2})(?:\.\*)?")
# Builders that uv brings itself.
_BUILDERS = re.compile(r"(?:pip|setuptools|wheel)(?:\s*[=<>!~].*)?")


def read(path: Path) -> PythonEnvironment | CondaEnvironment:
    """The environment of a conda file.

    Raises:
        InvalidInputError: the file is none.
    """
    dependencies = read_yaml(path).get("dependencies")
    if not isinstance(dependencies, list):
        raise InvalidInputError(f"{path.name} must hold `dependencies`, a list.")
    return _by_pip(dependencies, path.name) or CondaEnvironment(path.read_text(errors="replace"))


def find_conda() -> str:
    """The first command of `COMMANDS` on the PATH.

    Raises:
        NotFoundError: none is.
    """
    for name in COMMANDS:
        if (found := shutil.which(name)) is not None:
            return found
    raise NotFoundError(
        "The project asks for conda packages, and there is no micromamba, mamba or conda on the PATH: install one "
        "(https://mamba.readthedocs.io), or give the project a python_env."
    )


def _by_pip(dependencies: list[Any], where: str) -> PythonEnvironment | None:
    """The environment as uv builds it; None when a package of conda's is asked for."""
    python, lines = None, []
    for each in dependencies:
        if isinstance(each, dict) and set(each) == {"pip"} and isinstance(each["pip"], list):
            lines += [line for given in each["pip"] for line in checked(str(given), where)]
        elif isinstance(each, str) and (match := _PYTHON.fullmatch(each.strip())) is not None:
            python = checked_python(match[1])
        elif not isinstance(each, str) or not (each.strip() == "python" or _BUILDERS.fullmatch(each.strip())):
            return None
    return PythonEnvironment(python, tuple(lines))
