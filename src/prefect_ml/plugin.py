"""Zero code change: Prefect's plugin hook that has every flow of a process tracked.

Prefect calls `setup_environment` while `import prefect` runs, where its plugins are on
(`PREFECT_PLUGINS_ENABLED=1`). With `PREFECT_ML_TRACK_FLOWS=true` each flow that is made after that is tracked, as
`@prefect_ml.track` without options does it. See `docs/tracking.md`.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from prefect.plugins import HookContext, register_hook

from prefect_ml.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect import Flow

logger = logging.getLogger(__name__)

_OURS = {"prefect", "prefect_ml"}
_DONE = "__prefect_ml_tracks__"


@register_hook
def setup_environment(*, ctx: HookContext) -> None:  # noqa: ARG001 - called by name
    """Prefect's hook: have every flow of this process tracked where `PREFECT_ML_TRACK_FLOWS` says so."""
    if Settings().track_flows:
        track_flows()


def track_flows() -> None:
    """Have every flow that is made from now on tracked; idempotent.

    For where Prefect cannot call its plugins, which is where it is first imported in a running event loop, as in a
    notebook. Flows of Prefect and of prefect-ml themselves are left alone.
    """
    from prefect.flows import Flow  # noqa: PLC0415 - Prefect is being imported when its plugins are

    made: Callable[..., None] = Flow.__init__
    exceptions = Settings().track_flows_except
    if hasattr(made, _DONE):
        return

    @functools.wraps(made)
    def make(flow: Flow[..., Any], *args: Any, **kwargs: Any) -> None:
        made(flow, *args, **kwargs)
        _track(flow, exceptions)

    setattr(make, _DONE, True)
    setattr(Flow, "__init__", make)  # noqa: B010 - a type checker would not let it be assigned


def _track(flow: Flow[..., Any], exceptions: tuple[str, ...]) -> None:
    if (flow.fn.__module__ or "").partition(".")[0] in _OURS:
        return
    try:
        from prefect_ml.track import track_unasked  # noqa: PLC0415 - only where there are flows is it imported

        track_unasked(flow, exceptions)
    except Exception as error:  # noqa: BLE001 - whatever fails here must not keep a flow from being made
        logger.warning("The flow %r will not be tracked: %s", flow.name, error)
