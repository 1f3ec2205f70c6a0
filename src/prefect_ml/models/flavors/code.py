"""Models from code: a file of Python, or a folder with a `model.py`, copied into the model folder."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.calling import ModelContext, call, set_up, signature_of_hints
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.flavors.own_loaders import add_loader
from prefect_ml.models.from_code import model_of
from prefect_ml.models.own_code import CODE
from prefect_ml.models.private_modules import PrivateModules
from prefect_ml.models.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ENTRY = "model.py"
# Code is small; what is larger is data that lies beside it.
_MAX_BYTES = 64 << 20


class CodeFlavor:
    """Takes the path of a `.py` file or of a folder with a `model.py`; loads only from trusted origins.

    The file has a function `predict`, or says by `prefect_ml.models.set_model` (or MLflow's) what the model is. Modules
    that lie beside a file and are imported go along with it. What is loaded shares no module with other models.
    """

    name = "python_code"

    def matches(self, model: object) -> bool:
        if isinstance(model, str):
            return model.endswith(".py") or (Path(model) / _ENTRY).is_file()
        return isinstance(model, Path)

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:  # noqa: ARG002 - nothing is pickled
        source = Path(model)
        entry = source / _ENTRY if source.is_dir() else source
        if entry.suffix != ".py" or not entry.is_file():
            raise InvalidInputError(f"{str(entry)!r} is no file of Python code; give one, or a folder with a {_ENTRY}.")
        target = folder / CODE
        files = _below(source) if source.is_dir() else _with_siblings(source)
        _copy(source if source.is_dir() else source.parent, sorted(files), target)
        # What it imports is asked before MLflow's loader lies beside it.
        own, imported = {path.stem for path in target.iterdir()}, _imports(target)
        conf = {"entry": f"{CODE}/{entry.name}"}
        trust = Trust(str(folder), (str(folder),))
        # The user's own code on the user's own machine.
        native = self.load(folder, conf, trust)
        pyfunc = add_loader(folder, "python_loader", conf["entry"])
        modules = imported - own - sys.stdlib_module_names
        return FlavorInfo(conf, pyfunc, modules, signature_of_hints(native))

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        entry = resolve(folder, str(conf.get("entry", f"{CODE}/{_ENTRY}")))
        trust.require(f"the code {entry.name!r}")
        if not entry.is_file():
            raise ArtifactError(f"The code {entry.name!r} of {trust.origin!r} is missing; download the model again.")
        modules = PrivateModules(trust, [entry.parent])
        return set_up(model_of(entry, modules), ModelContext(folder))

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        return call(native, data, params)


def _below(folder: Path) -> Iterator[Path]:
    """Files, without hidden ones, links and compiled ones."""
    for path in folder.iterdir():
        if path.name.startswith(".") or path.is_symlink() or path.name == "__pycache__":
            continue
        if path.is_dir():
            yield from _below(path)
        elif path.is_file() and path.suffix != ".pyc":
            yield path


def _with_siblings(script: Path) -> set[Path]:
    """The script and the modules beside it that it imports, and those that they import."""
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in _imported_by(path):
            package, module = script.parent / name, script.parent / f"{name}.py"
            if (package / "__init__.py").is_file() and not package.is_symlink():
                waiting += _below(package)
            elif module.is_file() and not module.is_symlink():
                waiting.append(module)
    return found


def _copy(root: Path, files: list[Path], target: Path) -> None:
    size = sum(path.stat().st_size for path in files)
    if size > _MAX_BYTES:
        raise InvalidInputError(f"The code in {str(root)!r} has {size >> 20} MiB; move the data out of it.")
    for path in files:
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _imports(folder: Path) -> set[str]:
    return {name for path in folder.rglob("*.py") for name in _imported_by(path)}


def _imported_by(path: Path) -> set[str]:
    """The top-level modules that a file imports, function bodies included."""
    if path.suffix != ".py":
        return set()
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise InvalidInputError(f"{str(path)!r} is no Python code: {error}.") from error
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found
