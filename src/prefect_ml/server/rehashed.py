"""Files that the server keeps are read again before an alias moves: no client is trusted to say what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.entities import RequestStatus
from prefect_ml.errors import NotFoundError
from prefect_ml.registry.promotion import stored_digest
from prefect_ml.registry.resolve import resolve
from prefect_ml.store.open import SERVED_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.store.contract import Store

# The calls that move an alias for what its files are.
MOVING = frozenset({"promote", "rollback"})


def rehashed(store: Store, call: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call with the digest of the version's files as they are now, where the server keeps them.

    Of files elsewhere, which the server may not be able to read, the client's word counts.

    Raises:
        NotFoundError: the files are gone.
    """
    if call not in MOVING:
        return arguments
    version = _version(store, call, arguments)
    if version is None or not resolve(store, "models:/{}/{}".format(*version)).source.startswith(f"{SERVED_ROOT}/"):
        return arguments
    return {**arguments, "artifact_digest": stored_digest(store, *version)}


def _version(store: Store, call: str, arguments: Mapping[str, Any]) -> tuple[str, int] | None:
    """The version that the alias would move to; None when it would not move, which the call itself says."""
    try:
        if call == "promote":
            request = store.get_request(arguments["request_id"])
            found = (request.name, request.version) if request.status is RequestStatus.APPROVED else None
        else:
            previous = store.get_alias(arguments["name"], arguments["alias"]).previous_version
            found = None if previous is None else (arguments["name"], previous)
        if found is not None:
            store.get_model_version(*found)
    except NotFoundError:
        return None
    return found
