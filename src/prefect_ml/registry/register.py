"""Making a model folder a version of a registered model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.errors import AlreadyExistsError, NotFoundError
from prefect_ml.models.first_reading import read_apart
from prefect_ml.models.mlmodel import read_info
from prefect_ml.registry.resolve import fetch, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.entities import ModelVersion
    from prefect_ml.store.contract import Store


def register_model(
    store: Store,
    source: str,
    name: str,
    *,
    run_id: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """Add the model at `source` as the next version of `name`, with the digest of its files.

    Args:
        store: where the registry is.
        source: `runs:/<run id>/<path>`, any `models:/` URI (the new version shares its files), or a folder.
        name: the registered model; created when it does not exist.
        run_id: the run that made the model; taken from `source` when it knows one.
        description: text for people.
        tags: tags of the version.

    Raises:
        NotFoundError: there is nothing at `source`.
        ArtifactError: what is there is no model folder, cannot be read, or ends the process that reads it.
        CorruptArtifactError: the files are not those that were registered or written.
    """
    resolved = resolve(store, source)
    with tempfile.TemporaryDirectory(prefix="prefect-ml-") as scratch:
        copy = fetch(resolved, Path(scratch))
        info = read_info(copy)
        if not resolved.digest:
            read_apart(copy, info.flavors, source)
        digest = f"sha256:{copy.name}"
    _ensure_model(store, name)
    return store.create_model_version(
        name,
        resolved.source,
        run_id=run_id or resolved.run_id,
        description=description,
        artifact_digest=digest,
        tags=tags,
        model_id=resolved.model_id,
    )


def _ensure_model(store: Store, name: str) -> None:
    try:
        store.get_registered_model(name)
    except NotFoundError:
        try:
            store.create_registered_model(name)
        except AlreadyExistsError:  # another process was faster
            store.get_registered_model(name)
