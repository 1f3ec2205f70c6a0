"""Which code a run executes, who runs it, and where it lies."""

from __future__ import annotations

import functools
import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.tracking.capture import notebook

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# MLflow's names, which its tools read (https://mlflow.org/docs/latest/ml/tracking/#system-tags).
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
USER = "mlflow.user"
PYTHON = "prefect_ml.python_version"
ENTRY_POINT = "prefect_ml.entry_point"


def process_tags(source_file: str | None = None) -> dict[str, str]:
    """What is known without looking anywhere: source, entry point, user and Python.

    Args:
        source_file: the file of the flow; the script or notebook of this process when there is none.
    """
    tags = {USER: user(), PYTHON: sys.version.split()[0]}
    if notebook.shell() is not None:
        return tags | {SOURCE_NAME: notebook.name(), SOURCE_TYPE: "NOTEBOOK", ENTRY_POINT: notebook.name()}
    return tags | {SOURCE_NAME: source_file or _script(), SOURCE_TYPE: "LOCAL", ENTRY_POINT: entry_point()}


def entry_point(function: Callable[..., Any] | None = None, source: str | None = None) -> str:
    """`file:function` of a flow; else the module ("-m package.module") or script of this process, never arguments.

    Args:
        function: the flow's; None for this process.
        source: the file of the function, where its code names none, as after it was sent to this process.
    """
    code = getattr(function, "__code__", None)
    if code is not None:
        file = _relative(source or code.co_filename) if notebook.shell() is None else notebook.name()
        return f"{file}:{code.co_name}"
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return f"-m {spec.name.removesuffix('.__main__')}" if spec is not None else _relative(_script())


@functools.cache
def user() -> str:
    """The name of who runs this process, "" when the system does not know one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def source_folder(file: str | None = None) -> str:
    """The folder that a source file lies in; the working directory when there is none, and in a notebook."""
    if notebook.shell() is not None:
        return str(Path.cwd())
    found = file or getattr(sys.modules.get("__main__"), "__file__", None)
    parent = Path(found).absolute().parent if found else Path.cwd()
    return str(parent) if parent.is_dir() else str(Path.cwd())


def _script() -> str:
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    # With -c the first argument is that alone; the code after it is none of ours.
    return main or (sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c") else sys.executable)


def _relative(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else file
