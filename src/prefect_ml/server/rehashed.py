"""Files that the server keeps are read again before an alias moves: no client is trusted to say what they are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.entities import RequestStatus
from prefect_ml.errors import CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.models.digest import folder_digest
from prefect_ml.registry.promotion import UNREADABLE
from prefect_ml.registry.resolve import resolve
from prefect_ml.store.open import SERVED_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.artifacts import ArtifactStore
    from prefect_ml.store.contract import Store

# The calls that move an alias for what its files are.
MOVING = frozenset({"promote", "rollback"})


def rehashed(store: Store, artifacts: ArtifactStore, call: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call with the digest of the version's files as they are now, where the server keeps them.

    Of files elsewhere, which the server may not be able to read, the client's word counts.

    Args:
        store: that is called.
        artifacts: of the server.
        call: the name of the call.
        arguments: as the client gave them.
    """
    version = _version(store, call, arguments) if call in MOVING else None
    source = "" if version is None else _source(store, *version)
    if not source.startswith(f"{SERVED_ROOT}/"):
        return arguments
    with tempfile.TemporaryDirectory(prefix="prefect-ml-") as scratch:
        copy = Path(scratch) / "model"
        try:
            artifacts.download(source.removeprefix(f"{SERVED_ROOT}/").strip("/"), copy)
            digest = folder_digest(copy)
        except (CorruptArtifactError, NotFoundError):
            digest = UNREADABLE
    return {**arguments, "artifact_digest": digest}


def _source(store: Store, name: str, version: int) -> str:
    """Where the files of a version are; "" where that leads nowhere."""
    try:
        return resolve(store, f"models:/{name}/{version}").source
    except (NotFoundError, InvalidInputError):
        return ""


def _version(store: Store, call: str, arguments: Mapping[str, Any]) -> tuple[str, int] | None:
    """The version that the alias would move to; None when it would not move, which the call itself says."""
    try:
        if call == "promote":
            request = store.get_request(arguments["request_id"])
            return (request.name, request.version) if request.status is RequestStatus.APPROVED else None
        previous = store.get_alias(arguments["name"], arguments["alias"]).previous_version
    except NotFoundError:
        return None
    return None if previous is None else (arguments["name"], previous)
