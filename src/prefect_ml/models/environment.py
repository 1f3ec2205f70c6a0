"""Which distributions a model needs, in the exact versions that are installed, and the files that say so."""

from __future__ import annotations

import dis
import platform
import sys
from importlib.metadata import version
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import yaml

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.closure import OURS, Needed, distributions_by_module, needed_for
from prefect_ml.models.lock import write_lock
from prefect_ml.models.own_code import CODE, copy_code
from prefect_ml.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CONDA_FILE = "conda.yaml"
PYTHON_ENV_FILE = "python_env.yaml"
REQUIREMENTS_FILE = "requirements.txt"


class _Sink:
    def write(self, data: bytes) -> int:
        return len(data)


def modules_of(model: object) -> frozenset[str]:
    """The top-level modules, without the standard library, that an object's state and functions refer to.

    The object is pickled into nothing, since the pickler visits just what a loader will need; imports inside
    function bodies are read from their code.

    Raises:
        InvalidInputError: the object cannot be pickled.
    """
    import cloudpickle  # noqa: PLC0415 - only when a model is saved

    found: set[str] = set()

    class Census(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle ships no types
        def persistent_id(self, visited: Any) -> None:
            found.update(_names(visited))

    try:
        Census(_Sink()).dump(model)
    except Exception as error:
        raise InvalidInputError(f"This {type(model).__name__} cannot be pickled: {error!r}.") from error
    return frozenset({name.split(".")[0] for name in found} - sys.stdlib_module_names - {"__main__", ""})


def is_local(module: str) -> bool:
    """Whether a module came from a file of the user's own and not from an installed distribution."""
    top = module.split(".", maxsplit=1)[0]
    return top not in sys.stdlib_module_names and top not in distributions_by_module()


def requirements(modules: Iterable[str]) -> list[str]:
    """`name==version` of each distribution that provides one of these top-level modules, sorted."""
    names = {name for module in modules for name in distributions_by_module().get(module, ())}
    return sorted(f"{name}=={version(name)}" for name in names)


def write_environment(folder: Path, modules: Iterable[str]) -> None:
    """Write what the modules need: exact versions of all distributions, and code of one's own below `code/`.

    requirements.txt, python_env.yaml and conda.yaml are as MLflow's tools read them, and name every distribution, since
    those tools know no other lock; pylock.toml adds the files' digests, where uv knows them. Our own distribution is in
    no lock.

    Raises:
        InvalidInputError: the code of a module is too large to go along.
    """
    needed = needed_for(modules)
    copy_code(needed.own, folder / CODE)
    (folder / REQUIREMENTS_FILE).write_text(_requirements_text(needed))
    lockable = [pin for pin in needed.pins if not pin.startswith(f"{OURS}==")]
    write_lock(folder, lockable, offline=Settings().offline)
    python = platform.python_version()
    build = ["pip", "setuptools", "wheel"]
    python_env = {"python": python, "build_dependencies": build, "dependencies": [f"-r {REQUIREMENTS_FILE}"]}
    (folder / PYTHON_ENV_FILE).write_text(yaml.safe_dump(python_env, sort_keys=False))
    dependencies = [f"python={python}", "pip", {"pip": needed.pins}]
    conda = {"channels": ["conda-forge"], "dependencies": dependencies, "name": "prefect-ml-env"}
    (folder / CONDA_FILE).write_text(yaml.safe_dump(conda, sort_keys=False))


def _requirements_text(needed: Needed) -> str:
    parts = (("imported by the model", needed.direct), ("required by these", needed.further))
    lines = []
    for title, versions in parts:
        if versions:
            lines += [f"# {title}", *sorted(f"{name}=={pinned}" for name, pinned in versions.items())]
    lines += [f"# required by these, and not installed here: {line}" for line in sorted(needed.absent)]
    return "".join(f"{line}\n" for line in lines)


def _names(visited: Any) -> Iterable[str]:
    if isinstance(visited, ModuleType):
        return (visited.__name__,)
    if isinstance(visited, CodeType):
        return [i.argval for i in dis.get_instructions(visited) if i.opname == "IMPORT_NAME" and i.argval]
    own = getattr(visited, "__module__", None)
    return (type(visited).__module__, own) if isinstance(own, str) else (type(visited).__module__,)
