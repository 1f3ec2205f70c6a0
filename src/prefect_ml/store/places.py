"""The files that a store tells of, opened as that store reaches them, whatever the settings of the process name."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prefect_ml.artifacts import open_artifacts
from prefect_ml.artifacts.served import ServedArtifactStore
from prefect_ml.artifacts.served_client import client_of
from prefect_ml.settings import Settings

if TYPE_CHECKING:
    from pydantic import SecretStr

    from prefect_ml.artifacts.contract import ArtifactStore
    from prefect_ml.store.contract import Store

# What artifact URIs begin with that mean a place behind a tracking server.
SERVED = "mlflow-artifacts"


def is_remote(store: Store) -> bool:
    """Whether a store is behind a server."""
    return store.url.startswith(("http://", "https://"))


def open_place(store: Store, uri: str) -> ArtifactStore:
    """The artifacts at a URI that a store tells; behind a server, those are reached through it or in its root.

    Raises:
        InvalidInputError: it is no place of artifacts.
    """
    parts = urlsplit(uri)
    if parts.scheme != SERVED:
        return open_artifacts(uri)
    folder = parts.path.strip("/")
    if is_remote(store):
        return ServedArtifactStore(folder, client_of(store.url, _token(store)))
    return open_artifacts(f"{own_root(store)}/{folder}")


def own_root(store: Store) -> str:
    """The artifact root of a database; that of the settings, where its server keeps files for clients."""
    root = str(getattr(store, "artifact_root", "") or f"{SERVED}:")
    if root.startswith(f"{SERVED}:"):
        root = Settings().resolved_artifact_root
    return root.rstrip("/")


def _token(store: Store) -> SecretStr | None:
    """What the store itself sends; the contract knows no tokens."""
    token: SecretStr | None = getattr(store, "token", None)
    return token
