"""Which run is the current one, and what records here: by context variables, so each thread and coroutine has its own.

What an orchestrator knows of that is asked from functions that it registers here.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from prefect_ml.entities import Source

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


_UNKNOWN = Source()
_entered: ContextVar[Entered | None] = ContextVar("prefect_ml_run", default=None)
_source_finders: list[Callable[[str], Source | None]] = []


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


def register_source_finder(find: Callable[[str], Source | None]) -> None:
    """Ask a function what code of a run, given by id, records here; it answers None for what it does not know."""
    _source_finders.append(find)


def source_of(run_id: str) -> Source:
    """What code of a run records here."""
    for find in _source_finders:
        if (found := find(run_id)) is not None:
            return found
    return _UNKNOWN
