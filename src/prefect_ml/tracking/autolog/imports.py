"""Being told when a module was imported; an import of any other module costs one look into a dictionary."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Action = Callable[[ModuleType], object]


class _Finder:
    """Finds nothing by itself: it asks the other finders, and listens to the loader that they name."""

    def __init__(self) -> None:
        self.watched: dict[str, Action] = {}
        self._asking = threading.local()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        action = self.watched.get(name)
        # Another finder of this kind may ask us while we ask it.
        if action is None or getattr(self._asking, "name", None) == name:
            return None
        self._asking.name = name
        try:
            spec = _found(self, name, path, target)
        finally:
            self._asking.name = None
        if spec is not None:
            _tell(spec.loader, action)
        return spec


_finder = _Finder()


def watch(name: str, action: Action) -> None:
    """Call `action` with the module when it was imported: now when it is, else at the end of its import."""
    if name in sys.modules:
        # Waits for the end when another thread is importing it.
        action(importlib.import_module(name))
        return
    _finder.watched[name] = action
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def unwatch_all() -> None:
    """Forget all that is watched."""
    _finder.watched.clear()
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


def _found(own: _Finder, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    for finder in list(sys.meta_path):
        find = None if finder is own else getattr(finder, "find_spec", None)
        if find is not None and (spec := find(name, path, target)) is not None:
            return spec  # type: ignore[no-any-return] # finders are untyped
    return None


def _tell(loader: Any, action: Action) -> None:
    """Have a module's own loader call `action` once; it stays the loader that tools look at."""
    if loader is None or isinstance(loader, type) or not hasattr(loader, "exec_module"):
        return
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        vars(loader).pop("exec_module", None)
        execute(module)
        if _finder.watched.pop(module.__name__, None) is not None:
            action(module)

    loader.exec_module = exec_module
