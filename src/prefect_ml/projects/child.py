"""The environment of a project's command: where it finds its Python, and the run that it records in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.projects.environments import Built
    from prefect_ml.projects.source import Source

# What the engine says to the process of a flow run, which a command's own flows must not take for theirs.
_NOT_HANDED_ON = ("PREFECT__",)


def child_environment(built: Built, source: Source, tracking: Mapping[str, str]) -> dict[str, str]:
    """All variables of a project's command.

    Args:
        built: the environment that it runs in.
        source: its files: the project's folder, and `src` in it, can be imported from.
        tracking: what its tracking is told; replaces what is set.
    """
    found = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_HANDED_ON)}
    for name in ("PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX", "MLFLOW_EXPERIMENT_ID"):
        found.pop(name, None)
    path = [str(folder) for folder in built.path]
    found["PATH"] = os.pathsep.join([*path, found.get("PATH", os.defpath)])
    importable = [str(folder) for folder in (source.folder / "src", source.folder) if folder.is_dir()]
    kept = [found["PYTHONPATH"]] if built.kind == "local" and found.get("PYTHONPATH") else []
    found["PYTHONPATH"] = os.pathsep.join([*importable, *kept])
    # So that lines come when they are written.
    found["PYTHONUNBUFFERED"] = "1"
    return found | built.variables | dict(tracking)
