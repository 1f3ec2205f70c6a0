"""Modules of one model's own code, apart from those of the process and of other models.

Two models may both have a `features.py`. So the modules of a code folder are found by their own `__import__`, which
stands in the `__builtins__` of each of them, and not through `sys.path` and `sys.modules`. Imports in function bodies
find them as well, in every thread; so do `importlib.import_module("features")` and `importlib.resources` in their code.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import sys
import threading
import types
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.models.code_imports import SourceLoader
from prefect_ml.models.own_importlib import own_importlib

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prefect_ml.models.trust import Trust


class PrivateModules:
    """The modules below some folders, and further ones that are given ready.

    Args:
        trust: what the operator says of where they came from.
        folders: where top-level modules lie; the first that has one is taken.
        given: modules by their whole names, for example in the place of a library that is not installed.

    Raises:
        UntrustedModelError: the origin is not trusted, and one of the folders is there.
    """

    def __init__(
        self, trust: Trust, folders: Sequence[Path], given: Mapping[str, types.ModuleType] | None = None
    ) -> None:
        for folder in folders:
            if folder.exists():
                trust.require(f"the code in {folder.name!r}")
        self._folders = tuple(folders)
        self._modules: dict[str, types.ModuleType] = dict(given or {})
        self._given = frozenset(name.split(".")[0] for name in self._modules)
        # Names in sys.modules while a module runs, for what looks itself up there, as dataclasses do.
        self._prefix = f"_prefect_ml_{uuid.uuid4().hex}"
        self._lock = threading.RLock()
        self._builtins = {**vars(builtins), "__import__": self._import}
        self._importlib = own_importlib(self.has, self.load)

    def find(self, module: str, name: str) -> Any:
        """What a pickle means by a module and a name.

        Raises:
            LookupError: the module is none of these, or has no such name.
        """
        if module == "cloudpickle.cloudpickle" and name in ("_make_function", "subimport"):
            return getattr(self, name)
        if not self.has(module):
            raise LookupError(module)
        found: Any = self.load(module)
        for part in name.split("."):
            try:
                found = getattr(found, part)
            except AttributeError as error:
                raise LookupError(f"{module}.{name}") from error
        return found

    def has(self, module: str) -> bool:
        """Whether a module, by its whole name, is one of these."""
        top = module.split(".", maxsplit=1)[0]
        return top in self._given or (top in self._tops and self._place(top, self._folders) is not None)

    @functools.cached_property
    def _tops(self) -> frozenset[str]:
        """What may be a module, by its name: an import in a body that runs often looks at no folder."""
        return frozenset(
            entry.name.removesuffix(".py") for folder in self._folders if folder.is_dir() for entry in folder.iterdir()
        )

    def load(self, module: str) -> types.ModuleType:
        """A module by its whole name, run when it is first asked for.

        Raises:
            ModuleNotFoundError: there is none.
        """
        with self._lock:
            if module in self._modules:
                return self._modules[module]
            parent, _, last = module.rpartition(".")
            folders: Sequence[Path] = self._folders
            if parent:
                package = self.load(parent)
                if module in self._modules:  # the package imported it
                    return self._modules[module]
                folders = [Path(folder) for folder in getattr(package, "__path__", ())]
            place = self._place(last, folders)
            if place is None:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)
            made = self.run(place, module)
            if parent:
                setattr(self._modules[parent], last, made)
            return made

    def _make_function(self, code: types.CodeType, globals_: dict[str, Any], *rest: Any) -> types.FunctionType:
        """A function that cloudpickle carried by its value: imports in its body find these modules as well."""
        globals_["__builtins__"] = self._builtins
        return types.FunctionType(code, globals_, *rest)

    def subimport(self, name: str) -> types.ModuleType:
        """A module that a function carried by cloudpickle has among its globals."""
        return self.load(name) if self.has(name) else importlib.import_module(name)

    def run(self, path: Path, name: str) -> types.ModuleType:
        """Run a file, or the `__init__.py` of a folder, as the module of this name."""
        is_package = path.is_dir()
        file = path / "__init__.py" if is_package else path
        module = types.ModuleType(name)
        module.__dict__["__builtins__"] = self._builtins
        module.__package__ = name if is_package else name.rpartition(".")[0]
        if is_package:
            module.__path__ = [str(path)]
        private = f"{self._prefix}.{name}"
        with self._lock:
            self._modules[name] = module
            sys.modules[private] = module
            module.__name__ = private
            module.__file__ = str(file)
            try:
                if file.is_file():
                    self._execute(file, private, module)
            except BaseException:
                del self._modules[name]
                raise
            finally:
                del sys.modules[private]
        return module

    @staticmethod
    def _execute(file: Path, name: str, module: types.ModuleType) -> None:
        loader = SourceLoader(name, str(file))
        module.__spec__ = importlib.util.spec_from_file_location(name, file, loader=loader)
        loader.exec_module(module)

    def _import(
        self,
        name: str,
        globals_: Mapping[str, Any] | None = None,
        locals_: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        whole = self._absolute(name, globals_ or {}, level)
        if whole is None or not self.has(whole):
            found = builtins.__import__(name, globals_, locals_, fromlist or (), level)
            return self._importlib.get(found.__name__, found)
        module = self.load(whole)
        if not fromlist:
            return module if level else self.load(whole.split(".")[0])
        for part in fromlist:
            if part != "*" and not hasattr(module, part) and hasattr(module, "__path__"):
                self.load(f"{whole}.{part}")
        return module

    def _absolute(self, name: str, globals_: Mapping[str, Any], level: int) -> str | None:
        if not level:
            return name
        parts = str(globals_.get("__package__") or "").split(".")
        if level > len(parts) or not parts[0]:
            return None
        base = ".".join(parts[: len(parts) - level + 1])
        return f"{base}.{name}" if name else base

    @staticmethod
    def _place(name: str, folders: Sequence[Path]) -> Path | None:
        """The file or the folder of a module; below the model's folder no link is followed."""
        for folder in folders:
            package, file = folder / name, folder / f"{name}.py"
            if package.is_dir() and not package.is_symlink():
                return package
            if file.is_file() and not file.is_symlink():
                return file
        return None
