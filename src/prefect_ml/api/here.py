"""Where the public functions act: the store of this process's settings, and the flow run here."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from prefect_ml.settings import Settings
from prefect_ml.store import open_store
from prefect_ml.tracking import reaper
from prefect_ml.tracking.outlet import flush_all

if TYPE_CHECKING:
    from types import ModuleType

    from prefect_ml.store.contract import Store

logger = logging.getLogger(__name__)


def registry() -> ModuleType:
    """The steps of the registry; those that tell Prefect of changes where it is in use."""
    if "prefect.context" in sys.modules:
        from prefect_ml.flowruns import announced  # noqa: PLC0415 - only those who use it pay for its import

        return announced
    from prefect_ml.registry import steps  # noqa: PLC0415 - only those who use it pay for its import

    return steps


def flow_run_here() -> str | None:
    """The flow run here; plain scripts do not pay for Prefect's import."""
    if "prefect.context" not in sys.modules:
        return None
    from prefect_ml.track import flow_run_id_here  # noqa: PLC0415 - only those who use it pay for its import

    return flow_run_id_here()


def fresh_store() -> Store:
    """The store, with everything in it that this process recorded, and no run that only seems to be running."""
    if not flush_all():
        logger.warning("What this process recorded last is not in the store yet, so it cannot be read.")
    store = open_store()
    reaper.end_silent(store, Settings().heartbeat_timeout)
    return store
