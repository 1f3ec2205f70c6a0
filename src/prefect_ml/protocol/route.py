"""How a route is declared: a function from a request model to an answer, under a method and a path."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.wire import Request

W = TypeVar("W", bound=Callable[[Backend, Any], Any])

API = "/api/2.0/mlflow"
AJAX = "/ajax-api/2.0/mlflow"

# Each path of a route that reads as many rows as a client asks for, or waits for a receiver, has one of these words.
_SEARCHING = ("search", "get-history", "/test")


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the protocol.

    Attributes:
        methods: the HTTP methods; GET takes its fields from the URL, the others from a JSON body.
        paths: every path that it answers under; a part in braces is a field of the request.
        request: the model of the request.
        answer: the type of the answer, a TypedDict.
        work: what is done; its docstring is the documentation.
        tag: the heading in the documentation.
        quick: whether it does no more than a small write, which takes less time than another thread's start.
        searches: whether it may read many rows, or wait for others; nobody with a small request waits for such.
    """

    methods: tuple[str, ...]
    paths: tuple[str, ...]
    request: type[Request]
    answer: Any
    work: Callable[[Backend, Any], Any]
    tag: str
    quick: bool = False
    searches: bool = False

    @property
    def summary(self) -> str:
        return inspect.cleandoc(self.work.__doc__ or "")


class Routes:
    """The routes of one noun, in the order of their declaration."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self.all: list[Route] = []

    def on(self, method: str, *paths: str, ajax_only: bool = False, quick: bool = False) -> Callable[[W], W]:
        """Declare the function below as the route of a method (several: "GET POST") and of paths below the prefix."""
        prefixes = (AJAX,) if ajax_only else (API, AJAX)

        def declare(work: W) -> W:
            hints = get_type_hints(work)
            whole = tuple(f"{prefix}/{path}" for path in paths for prefix in prefixes)
            methods = tuple(method.split())
            searches = any(word in path for path in paths for word in _SEARCHING)
            self.all.append(Route(methods, whole, hints["request"], hints["return"], work, self._tag, quick, searches))
            return work

        return declare
