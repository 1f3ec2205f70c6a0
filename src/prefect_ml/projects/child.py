"""The environment of a project's command: where it finds its Python, and the run that it records in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import prefect_ml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.projects.environments import Built
    from prefect_ml.projects.source import Source

# What the engine says to the process of a flow run, which a command's own flows must not take for theirs.
_NOT_HANDED_ON = ("PREFECT__",)


def child_environment(
    built: Built, source: Source, tracking: Mapping[str, str], further: Path | None = None
) -> dict[str, str]:
    """All variables of a project's command.

    Args:
        built: the environment that it runs in.
        source: its files: the project's folder, and `src` in it, can be imported from.
        tracking: what its tracking is told; replaces what is set.
        further: a folder that can be imported from as well, after those of the project.
    """
    found = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_HANDED_ON)}
    for name in ("PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX", "MLFLOW_EXPERIMENT_ID"):
        found.pop(name, None)
    path = [str(folder) for folder in built.path]
    found["PATH"] = os.pathsep.join([*path, found.get("PATH", os.defpath)])
    importable = [str(folder) for folder in (source.folder / "src", source.folder) if folder.is_dir()]
    importable += [] if further is None else [str(further)]
    kept = [found["PYTHONPATH"]] if built.kind == "local" and found.get("PYTHONPATH") else []
    found["PYTHONPATH"] = os.pathsep.join([*importable, *kept])
    # So that lines come when they are written.
    found["PYTHONUNBUFFERED"] = "1"
    return found | built.variables | dict(tracking)


def ourselves_in(folder: Path) -> Path:
    """A folder that has our package and what is known of it, and nothing else of what is installed here."""
    from importlib.metadata import files  # noqa: PLC0415 - few commands need it

    folder.mkdir()
    own = Path(prefect_ml.__path__[0])
    (folder / own.name).symlink_to(own)
    for each in files("prefect-ml") or ():
        if each.name == "METADATA":
            about = Path(str(each.locate())).parent
            (folder / about.name).symlink_to(about)
    return folder
