"""Calls of other libraries' functions with a callback of ours added to the user's."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OWN = "prefect_ml.tracking.autolog."


class Call(NamedTuple):
    """A call that has not been made.

    Attributes:
        function: what is called.
        args: as the user gave them.
        kwargs: as the user gave them.
        given: the same by name, defaults included; empty when they do not fit, which the call itself will say.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    given: Mapping[str, Any]

    @classmethod
    def of(cls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        try:
            bound = _signature(function).bind(*args, **kwargs)
        except TypeError:
            return cls(function, args, kwargs, {})
        bound.apply_defaults()
        return cls(function, args, kwargs, bound.arguments)

    def make(self) -> Any:
        return self.function(*self.args, **self.kwargs)

    def having(self, name: str, value: Any) -> Call:
        """The same call with another value of one argument."""
        bound = _signature(self.function).bind(*self.args, **self.kwargs)
        bound.arguments[name] = value
        return self._replace(args=bound.args, kwargs=bound.kwargs)


def observing(
    observe: Callable[..., Any],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes from an original what calls `observe(original, args, kwargs)`."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def observed(*args: Any, **kwargs: Any) -> Any:
            return observe(original, args, kwargs)

        return observed

    return make


def caller(*between: str) -> str:
    """The package of whoever made the call that is observed: the first frame outside of ours and of `between`."""
    frame = sys._getframe(1)  # noqa: SLF001 - the one way to know who calls
    while True:
        name = str(frame.f_globals.get("__name__", ""))
        if frame.f_back is None or not (name.startswith(_OWN) or name in between):
            return name.partition(".")[0]
        frame = frame.f_back


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)
