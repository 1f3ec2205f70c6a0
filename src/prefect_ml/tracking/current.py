"""Which run is the current one: a context variable, so that threads and coroutines have their own."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from prefect_ml.tracking.inherited import inherited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prefect_ml.tracking.run import ActiveRun


class Entered(NamedTuple):
    """A run that was entered, and the flow run in which that happened.

    Attributes:
        run: the run.
        flow_run_id: id of the Prefect flow run around it, None outside of one.
    """

    run: ActiveRun
    flow_run_id: str | None


_entered: ContextVar[Entered | None] = ContextVar("prefect_ml_run", default=None)


def entered() -> Entered | None:
    """The innermost run that was entered in this context."""
    return _entered.get()


@contextmanager
def entering(run: ActiveRun, flow_run_id: str | None = None) -> Iterator[ActiveRun]:
    """Make a run the current one for the body."""
    token = _entered.set(Entered(run, flow_run_id))
    try:
        yield run
    finally:
        _entered.reset(token)


def _entered_run() -> ActiveRun | None:
    found = _entered.get()
    return inherited() if found is None else found.run


class _Finder:
    """How the current run is found: by what was entered, until somebody knows more."""

    find: Callable[[], ActiveRun | None] = staticmethod(_entered_run)


def register_finder(find: Callable[[], ActiveRun | None]) -> None:
    """Let rooms that cannot know of flows find the current run; `find` returns None when there is none."""
    _Finder.find = staticmethod(find)


def find_run() -> ActiveRun | None:
    """The current run by what was registered, None when there is none."""
    return _Finder.find()
