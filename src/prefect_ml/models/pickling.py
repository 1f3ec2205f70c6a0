"""Pickling an object with the user's own modules in it, since no index could restore them."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from prefect_ml.models.environment import is_local, modules_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# cloudpickle's registry is the process's, and models may be saved in several threads.
_registering = threading.Lock()


@contextmanager
def carried(model: object) -> Iterator[frozenset[str]]:
    """Pickle the user's own modules by value, since no index could restore them; yields all modules used.

    What a module carries may refer to further modules, so it looks until it finds no more.
    """
    import cloudpickle  # noqa: PLC0415 - only where a pickle is made

    with _registering, ExitStack() as added:
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
