"""`importlib` as a model's own code sees it: names of its own modules mean these, in `importlib.resources` as well."""

from __future__ import annotations

import functools
import importlib
import importlib.resources
import importlib.util
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# Of importlib.resources: what takes a package as its first argument; each Python has some of them.
_OF_A_PACKAGE = (
    "files", "contents", "is_resource", "open_binary", "open_text", "path", "read_binary", "read_text",
)  # fmt: skip


def own_importlib(has: Callable[[str], bool], load: Callable[[str], types.ModuleType]) -> dict[str, types.ModuleType]:
    """Stand-ins for `importlib` and `importlib.resources`; what they do not change is the library's.

    Args:
        has: whether a module, by its whole name, is one of the model's own.
        load: gives it.
    """

    def meant(package: Any) -> Any:
        return load(package) if isinstance(package, str) and has(package) else package

    def import_module(name: str, package: str | None = None) -> types.ModuleType:
        whole = importlib.util.resolve_name(name, package) if name.startswith(".") else name
        return load(whole) if has(whole) else importlib.import_module(name, package)

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            if arguments:
                return function(meant(arguments[0]), *arguments[1:], **named)
            if not named:  # the package of who calls, since Python 3.12
                return function(meant(sys._getframe(1).f_globals["__package__"]))  # noqa: SLF001 - as the library does
            return function(**{key: meant(value) for key, value in named.items()})

        return call

    resources = _StandIn(importlib.resources)
    for name in _OF_A_PACKAGE:
        if hasattr(importlib.resources, name):
            setattr(resources, name, wrapped(getattr(importlib.resources, name)))
    whole = _StandIn(importlib)
    vars(whole).update(import_module=import_module, resources=resources)
    return {"importlib": whole, "importlib.resources": resources}


class _StandIn(types.ModuleType):
    def __init__(self, real: types.ModuleType) -> None:
        super().__init__(real.__name__, real.__doc__)
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
