"""Models of a run."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.artifacts import open_artifacts
from prefect_ml.artifacts.names import split_name
from prefect_ml.errors import StoreUnavailableError
from prefect_ml.tracking import files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prefect_ml.entities import ModelVersion
    from prefect_ml.models.mlmodel import ModelInfo
    from prefect_ml.models.signature import Signature
    from prefect_ml.store.contract import Store
    from prefect_ml.tracking.outlet import Outlet

logger = logging.getLogger(__name__)

_listeners: list[Callable[[Store, ModelVersion], None]] = []


def register_listener(tell: Callable[[Store, ModelVersion], None]) -> None:
    """Call a function, which must not raise, with each version that is registered as it is logged."""
    _listeners.append(tell)


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model that was kept.

    Attributes:
        uri: `runs:/<run id>/<name>`.
        info: what its MLmodel file says.
        name: the registered model, when it was registered.
        version: the version that it became.
    """

    uri: str
    info: ModelInfo
    name: str | None = None
    version: int | None = None


def log_model(
    outlet: Outlet,
    model: Any,
    name: str,
    *,
    register: str | None,
    input_example: Any,
    signature: Signature | None,
    flavor: str | None,
    metadata: Mapping[str, Any] | None,
    allow_pickle: bool,
    serialization_format: str | None,
) -> LoggedModel:
    from prefect_ml.models.folder import save_model  # noqa: PLC0415 - only those who use it pay for its import

    split_name(name)
    name = _not_registered(outlet, name)
    with tempfile.TemporaryDirectory(prefix="prefect-ml-") as scratch:
        folder = Path(scratch) / "model"
        info = save_model(
            model, folder, flavor=flavor, input_example=input_example, signature=signature, metadata=metadata,
            allow_pickle=allow_pickle, serialization_format=serialization_format, run_id=outlet.run_id,
        )  # fmt: skip
        there = files.keep(outlet, name, folder)
    outlet.add_model(_entry(outlet, name, info))
    uri = f"runs:/{outlet.run_id}/{name}"
    version = _register(outlet, uri, register, there=there) if register else None
    return LoggedModel(uri, info, register if version else None, version)


def _not_registered(outlet: Outlet, name: str) -> str:
    """The name, or with the next number when a version has its files there: what is registered never changes.

    A model of that name that is not registered makes room: a retried flow keeps its model again.
    """
    try:
        with outlet.asking.once():
            artifacts = open_artifacts(outlet.artifact_uri)
            if not artifacts.list(name):
                return name
            versions = outlet.store.search_model_versions(f"run_id = '{outlet.run_id}'").items
    except StoreUnavailableError as error:
        logger.debug("Whether %s is registered cannot be seen: %s", name, error)
        return name
    taken = {(version.location or version.source).rstrip("/") for version in versions}
    number, free = 1, name
    while f"{artifacts.uri}/{free}" in taken:
        number += 1
        free = f"{name}-{number}"
    artifacts.delete(free)
    return free


def _register(outlet: Outlet, uri: str, name: str, *, there: bool) -> int | None:
    from prefect_ml.registry.register import register_model  # noqa: PLC0415 - only those who use it pay for its import

    try:
        if there:
            version = register_model(outlet.store, uri, name, run_id=outlet.run_id)
            for tell in _listeners:
                tell(outlet.store, version)
            return version.version
    except StoreUnavailableError as error:
        logger.debug("Registering %s failed: %s", uri, error)
    logger.warning(
        "%s is not registered, the store is away; when it is back: `prefect-ml models register %s %s`.",
        uri, uri, name,
    )  # fmt: skip
    return None


def _entry(outlet: Outlet, name: str, info: ModelInfo) -> dict[str, Any]:
    return {
        "run_id": outlet.run_id,
        "artifact_path": name,
        "utc_time_created": info.utc_time_created,
        "model_uuid": info.model_uuid,
        "flavors": orjson.loads(orjson.dumps(dict(info.flavors), default=str)),
    }
