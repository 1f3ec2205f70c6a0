"""How the runs of a flow are recorded, as its decorator says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from prefect_ml.tracking.autolog import switch

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun

# The attribute of a flow's function that holds its options, or None when it is not to be tracked.
OPTIONS = "__prefect_ml_track__"
# The tag of a flow run that is not to be recorded where only a setting asks for it.
OFF_TAG = "prefect-ml:off"


@dataclass(frozen=True, slots=True)
class Options:
    """See `prefect_ml.track`.

    Attributes:
        exceptions: patterns of names of flows to leave out; None where a decorator, not a setting, asks to record.
        wrapper: whether the flow only runs other code.
    """

    experiment: str | None = None
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    autolog: bool | Sequence[str] | None = None
    exceptions: tuple[str, ...] | None = None
    wrapper: bool = False

    def __reduce__(self) -> tuple[Callable[..., Options], tuple[Any, ...]]:
        return _arrived, tuple(getattr(self, each.name) for each in fields(self))


def _arrived(*values: Any) -> Options:
    """The options of a flow that was sent to this process, where its decorator may never run."""
    options = Options(*values)
    if options.autolog:
        switch.prepare(options.autolog)
    return options


def options_of(function: Any) -> Options | None:
    """The options of a tracked flow's function; None when it is not tracked."""
    found = getattr(function, OPTIONS, None)
    return found if isinstance(found, Options) else None


def left_out(options: Options, flow: Flow[..., Any], flow_run: FlowRun) -> bool:
    """Whether a flow run is not recorded although a setting asks for all; a decorator always gets its will."""
    if options.exceptions is None:
        return False
    return OFF_TAG in flow_run.tags or any(fnmatchcase(flow.name, pattern) for pattern in options.exceptions)


def is_recorded(flow: Flow[..., Any] | None, flow_run: FlowRun | None) -> bool:
    """Whether a flow run is recorded."""
    options = None if flow is None else options_of(flow.fn)
    if options is None or flow is None or flow_run is None:
        return False
    return not left_out(options, flow, flow_run)
