"""Entry points that no file of a project names: a script or notebook, a module, a flow in a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import InvalidNameError
from prefect_ml.projects import python_env
from prefect_ml.projects.definition import EntryPoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prefect_ml.projects.definition import PythonEnvironment

# MLflow runs the first two; a notebook is run as nbconvert executes it.
_SCRIPTS: Mapping[str, tuple[str, ...]] = {
    ".py": ("python",),
    ".sh": ("/bin/sh",),
    ".ipynb": ("python", "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"),
}
_FLOW = re.compile(r"(?P<file>[^:]+\.py):(?P<function>[A-Za-z_]\w*)", re.ASCII)
_MODULE = re.compile(r"-m (?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", re.ASCII)
_CALL = ("python", "-m", "prefect_ml.flows.call")


def code_entry(folder: Path, name: str) -> tuple[EntryPoint, PythonEnvironment | None] | None:
    """The entry point that a name is in a folder, and the environment that its own comments ask for.

    Args:
        folder: root of the project.
        name: `train.py` or `train.ipynb`; `train.py:train` for a flow in a file, which is called with the parameters;
            `-m churn.train` for a module of the folder, or of `src` in it.

    Returns:
        None when there is no such thing in the folder.

    Raises:
        InvalidInputError: the comments of the script ask for something that is no requirement.
    """
    if (flow := _FLOW.fullmatch(name)) is not None:
        if (file := _file(folder, flow["file"])) is None:
            return None
        words = (*_CALL, f"./{_relative(folder, file)}:{flow['function']}")
        return EntryPoint(name, words), python_env.of_script(file)
    if (module := _MODULE.fullmatch(name)) is not None:
        path = module["module"].replace(".", "/")
        places = (f"{root}{path}{end}" for root in ("", "src/") for end in (".py", "/__main__.py"))
        if all(_file(folder, place) is None for place in places):
            return None
        return EntryPoint(name, ("python", "-m", module["module"])), None
    if (script := _file(folder, name)) is None:
        return None
    # A name that begins with a dash would be read as an option.
    entry = EntryPoint(name, (*_SCRIPTS[script.suffix], f"./{_relative(folder, script)}"))
    return entry, python_env.of_script(script) if script.suffix == ".py" else None


def _file(folder: Path, name: str) -> Path | None:
    try:
        path = resolve(folder, name)
    except InvalidNameError:
        return None
    return path if path.suffix in _SCRIPTS and path.is_file() else None


def _relative(folder: Path, file: Path) -> str:
    return file.relative_to(folder.resolve()).as_posix()
