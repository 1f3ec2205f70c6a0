"""Where runs, models and promotions are recorded."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr

from prefect_ml.errors import InvalidInputError
from prefect_ml.settings import Settings
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store


class TrackingServer(Block):
    """The store of a team: its database or server, and the root of its artifacts.

    Attributes:
        store_url: SQLAlchemy URL of the store, or `http://host:5000` of a server; the settings of the process when
            empty.
        artifact_root: folder of the artifacts; the settings of the process when empty. A server has its own.
        token: that a server asks for; the settings of the process when empty.

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
        description="SQLAlchemy URL of the store with its password, or http://host:5000 of a server; the process's own "
        "settings when empty.",
    )
    artifact_root: str | None = Field(
        default=None,
        description="Folder below which artifacts are kept; the process's own settings when empty.",
    )
    token: SecretStr | None = Field(
        default=None,
        description="Token that a server asks for; the process's own settings when empty.",
    )

    def get_settings(self) -> Settings:
        """The settings of this process, with what the block says in their place."""
        given: dict[str, Any] = {
            "store_url": self.store_url,
            "artifact_root": self.artifact_root,
            "server_token": self.token,
        }
        return Settings(**{key: value for key, value in given.items() if value is not None})

    def get_store(self) -> Store:
        """Open the store, which opens its artifacts itself; a database's schema is brought to this release first."""
        url = self.get_settings().resolved_store_url
        return open_store(url, artifact_root=self.artifact_root, token=self.token)


def named_store(where: str | None) -> Store:
    """The store that people name: a `TrackingServer` block, a URL, or with nothing that of the settings.

    Raises:
        InvalidInputError: a URL with a password in it, or no block of that name.
        StoreUnavailableError: its database cannot be reached.
    """
    if not where:
        return open_store()
    if ":" not in where:
        try:
            return cast("TrackingServer", TrackingServer.load(where)).get_store()
        except ValueError as error:
            raise InvalidInputError(
                f"There is no TrackingServer block {where!r}: save one under that name, or give a URL."
            ) from error
    if urlsplit(where).password is not None:
        raise InvalidInputError(
            "The URL has a password in it, and parameters of flow runs are kept and shown: save a TrackingServer block "
            "and give its name."
        )
    return open_store(where)
