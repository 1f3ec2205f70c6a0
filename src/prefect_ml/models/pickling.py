"""Pickling an object with the user's own modules in it, since no index could restore them."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, get_type_hints

from prefect_ml.models.environment import is_local, modules_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# cloudpickle's registry is the process's, and models may be saved in several threads.
_registering = threading.Lock()


@contextmanager
def carried(model: object) -> Iterator[frozenset[str]]:
    """Pickle the user's own modules by value, since no index could restore them; yields all modules used.

    What a module carries may refer to further modules, so it looks until it finds no more. Hints that are text are
    taken along as the types that they name.
    """
    import cloudpickle  # noqa: PLC0415 - only where a pickle is made

    with _registering, ExitStack() as added:
        added.callback(_evaluate_hints(model))
        local_ones: set[str] = set()
        while True:
            modules = modules_of(model)
            loaded = [name for name in list(sys.modules) if name.split(".", 1)[0] in modules]
            local = {name for name in loaded if is_local(name)} - local_ones
            if not local:
                break
            local_ones |= local
            for name in sorted(local - cloudpickle.list_registry_pickle_by_value()):
                cloudpickle.register_pickle_by_value(sys.modules[name])
                added.callback(cloudpickle.unregister_pickle_by_value, sys.modules[name])
        yield frozenset(name for name in modules if not is_local(name))


def _evaluate_hints(model: object) -> Callable[[], None]:
    """Put types in the place of the texts in the hints of what predicts; returns what undoes it."""
    function = getattr(model, "predict", model)
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType):
        function = getattr(type(function).__call__, "__func__", type(function).__call__)
    before = getattr(function, "__annotations__", None)
    if not isinstance(function, FunctionType) or not before:
        return lambda: None
    try:
        function.__annotations__ = {**before, **get_type_hints(function, include_extras=True)}
    except (NameError, TypeError, AttributeError):  # a hint that says nothing
        return lambda: None
    return lambda: setattr(function, "__annotations__", before)
