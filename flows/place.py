"""Where a flow finds the registry."""

from __future__ import annotations

from typing import cast

from prefect_ml.blocks.server import TrackingServer
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store


def store_at(tracking_server: str | None) -> Store:
    """The store of a TrackingServer block by name, or that of the settings of this process."""
    if not tracking_server:
        return open_store()
    return cast("TrackingServer", TrackingServer.load(tracking_server)).get_store()
