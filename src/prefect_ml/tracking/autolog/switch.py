"""For which libraries autolog is on: in this process, or in one context."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from prefect_ml.errors import InvalidInputError
from prefect_ml.tracking.autolog import imports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from prefect_ml.tracking.autolog.contract import Autologger
    from prefect_ml.tracking.autolog.patches import Patches

logger = logging.getLogger(__name__)

# Each library, and the modules after whose import it can be patched.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "sklearn": ("sklearn.base",),
    "xgboost": ("xgboost",),
    "lightgbm": ("lightgbm",),
    "lightning": ("lightning.pytorch", "pytorch_lightning"),
    "keras": ("keras",),
}


class _Choice(NamedTuple):
    """Libraries that are on, in the process that said so, until the next `disable`.

    A forked child, such as a worker of joblib, has the memory of its parent and records nothing by itself.
    """

    libraries: frozenset[str]
    pid: int
    generation: int


class _Process:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.generation = 0
        self.pid = 0
        self.everywhere: _Choice | None = None
        self.watched: set[str] = set()
        self.patches: dict[str, Patches] = {}


_process = _Process()
_choices: list[Callable[[], bool | Sequence[str] | None]] = []
_scoped: ContextVar[_Choice | None] = ContextVar("prefect_ml_autolog", default=None)


def enable(libraries: Sequence[str] | None = None) -> None:
    """Record fits in all runs of this process from now on.

    Args:
        libraries: names of `LIBRARIES`; all by default. They need not be installed or imported.

    Raises:
        InvalidInputError: an unknown library.
    """
    _process.everywhere = _install(_names(True if libraries is None else libraries))


def disable() -> None:
    """Record fits nowhere in this process, scopes included, and put the libraries' own functions back."""
    with _process.lock:
        _process.generation += 1
        _process.everywhere = None
        imports.unwatch_all()
        _process.watched.clear()
        while _process.patches:
            _process.patches.popitem()[1].undo()


@contextmanager
def scope(on: bool | Sequence[str]) -> Iterator[None]:
    """Say for this context alone what is on: all, none, or these libraries; inside, `enable` changes nothing.

    Raises:
        InvalidInputError: an unknown library.
    """
    token = _scoped.set(_install(_names(on)))
    try:
        yield
    finally:
        _scoped.reset(token)


def prepare(on: bool | Sequence[str]) -> None:
    """Get ready to record where what `register_choice` was given says so, without switching anything on.

    Raises:
        InvalidInputError: an unknown library.
    """
    _install(_names(on))


def register_choice(find: Callable[[], bool | Sequence[str] | None]) -> None:
    """Ask a function what is on here, where no `scope` says so; it answers None for what it does not know."""
    _choices.append(find)


def is_on(library: str) -> bool:
    """Whether a fit of this library is recorded here when there is a run."""
    choice = _scoped.get() or _registered() or _process.everywhere
    return (
        choice is not None
        and library in choice.libraries
        and choice.generation == _process.generation
        and choice.pid == os.getpid()
    )


def _registered() -> _Choice | None:
    found = next((on for find in _choices if (on := find()) is not None), None)
    return None if found is None else _Choice(_names(found), _process.pid, _process.generation)


def _names(on: bool | Sequence[str]) -> frozenset[str]:
    if isinstance(on, bool):
        return frozenset(LIBRARIES) if on else frozenset()
    names = frozenset([on] if isinstance(on, str) else on)
    if unknown := sorted(str(name) for name in names - set(LIBRARIES)):
        raise InvalidInputError(f"Autolog knows no {', '.join(unknown)}; it knows {', '.join(LIBRARIES)}.")
    return names


def _install(libraries: frozenset[str]) -> _Choice:
    """Patch what is imported, watch for what is not; what is patched stays so until `disable`."""
    with _process.lock:
        modules = [(library, module) for library in sorted(libraries) for module in LIBRARIES[library]]
        new = [(library, module) for library, module in modules if module not in _process.watched]
        _process.watched.update(module for _, module in new)
        _process.pid = os.getpid()
        choice = _Choice(libraries, _process.pid, _process.generation)
    # Without the lock: it may wait for another thread's import, which may wait for the lock to patch.
    for library, module in new:
        imports.watch(module, functools.partial(_patch, library))
    return choice


def _patch(library: str, module: ModuleType) -> None:
    """Patch a module that was just imported; a library that cannot be patched is one warning."""
    with _process.lock:
        if module.__name__ not in _process.watched or module.__name__ in _process.patches:
            return
        try:
            ours: Autologger = importlib.import_module(f"prefect_ml.tracking.autolog.{library}")
            _process.patches[module.__name__] = ours.install(module)
        except Exception as error:  # noqa: BLE001 - a release of the library that we do not know must not stop an import
            logger.warning("Autolog of %s is off in this process: %r", library, error)
