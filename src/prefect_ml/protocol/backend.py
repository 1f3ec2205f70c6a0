"""What the routes work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect_ml.artifacts import ArtifactStore
    from prefect_ml.store.calls import KeyedStore


@dataclass(frozen=True, slots=True)
class Backend:
    """The store and the artifacts of a server.

    Attributes:
        store: of everything that is no file.
        artifacts: everything below the server's artifact root, which clients know as `mlflow-artifacts:/`.
    """

    store: KeyedStore
    artifacts: ArtifactStore
