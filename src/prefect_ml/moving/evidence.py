"""What a store says of a version beside its lineage: requests with gates and decisions, policies, moves of aliases.

It goes along when the version is copied to another store, which keeps it as that of another and counts none of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from prefect_ml.errors import NotFoundError
from prefect_ml.lineage.outcome import moves_to

if TYPE_CHECKING:
    from prefect_ml.entities import Policy, PromotionRequest
    from prefect_ml.store.contract import Store

FORMAT = 1
# How many of the model's latest requests are looked at, and how many of the version's are told, the newest first.
_LOOKED_AT = 1000
_MOST_REQUESTS = 50
_MOST_MOVES = 200
_MOST_EARLIER = 10
# Characters of a document; what gates rest on is left out of the oldest requests first.
_LONGEST = 350_000


def evidence_of(store: Store, name: str, version: int) -> dict[str, Any]:
    """The document about one version; equal as long as nothing was added there.

    Raises:
        NotFoundError: there is no such version.
    """
    found = store.get_model_version(name, version)
    listed = [each for each in store.list_requests(name=name, max_results=_LOOKED_AT) if each.version == version]
    requests = [store.get_request(each.request_id) for each in listed[:_MOST_REQUESTS]]
    moves = moves_to(store, found, {request.alias for request in requests})
    document: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "version": version,
        "digest": found.artifact_digest,
        "requests": [_plain(request) for request in requests],
        "requests_left_out": max(0, len(listed) - len(requests)),
        "policies": [_plain(policy) for policy in _policies(store, requests)],
        "moves": [_plain(move) for move in moves[-_MOST_MOVES:]],
        "earlier": [_plain(each) for each in store.get_foreign_evidence(name, version)[:_MOST_EARLIER]],
    }
    return _bounded(document)


def _policies(store: Store, requests: list[PromotionRequest]) -> list[Policy]:
    """Those that the requests were judged by."""
    found = []
    for name, version in sorted({(request.policy, request.policy_version) for request in requests}):
        try:
            found.append(store.get_policy(name, version))
        except NotFoundError:  # of a store that lost it; the request names it all the same
            continue
    return found


def _bounded(document: dict[str, Any]) -> dict[str, Any]:
    """A document that can be kept, in which what was left out is named."""
    results = [result for request in reversed(document["requests"]) for result in request["evidence"]]
    for result in results:
        if _length(document) <= _LONGEST:
            return document
        result["evidence"] = {"left_out": "it was too long to be copied"}
    while _length(document) > _LONGEST and document["earlier"]:
        document["earlier"].pop()
    while _length(document) > _LONGEST and document["moves"]:
        del document["moves"][: len(document["moves"]) // 2 + 1]
    while _length(document) > _LONGEST and document["requests"]:
        document["requests"].pop()
        document["requests_left_out"] += 1
    return document


def _length(document: dict[str, Any]) -> int:
    return len(json.dumps(document))


def _plain(value: object) -> Any:
    """An entity in the types of JSON."""
    return json.loads(to_json(value, inf_nan_mode="constants"))
