"""Where runs, models and promotions are recorded."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr

from prefect_ml.settings import Settings
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store


class TrackingServer(Block):
    """The store of a team: its database, and the root of its artifacts.

    Attributes:
        store_url: SQLAlchemy URL of the store; the settings of the process when empty.
        artifact_root: folder of the artifacts; the settings of the process when empty.

    Example:
        Search the runs of a store:
        ```python
        from prefect_ml.blocks import TrackingServer

        server = TrackingServer.load("BLOCK_NAME")
        server.get_store().search_runs(["0"], "metrics.auc > 0.9")
        ```
    """

    _block_type_name = "Tracking Server"
    _block_type_slug = "prefect-ml-tracking-server"
    _documentation_url = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")

    store_url: SecretStr | None = Field(
        default=None,
        title="Store URL",
        description="SQLAlchemy URL of the store, with its password; the process's own settings when empty.",
    )
    artifact_root: str | None = Field(
        default=None,
        description="Folder below which artifacts are kept; the process's own settings when empty.",
    )

    def get_settings(self) -> Settings:
        """The settings of this process, with what the block says in their place."""
        given: dict[str, Any] = {"store_url": self.store_url, "artifact_root": self.artifact_root}
        return Settings(**{key: value for key, value in given.items() if value is not None})

    def get_store(self) -> Store:
        """Open the store; its schema is brought to this release first."""
        return open_store(self.get_settings().resolved_store_url)
