"""Which of an endpoint's routes answers a request: by weight, and the same one for the same key."""

from __future__ import annotations

import bisect
import itertools
import math
import random
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from prefect_ml.serving.picking import unknown_version
from prefect_ml.serving.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prefect_ml.entities import Endpoint, Route
    from prefect_ml.serving.replica import Replica

# Requests with the same value are answered by the same version, as long as the weights stay.
KEY_HEADER = b"x-request-key"
_HASHES = 2.0**64


@dataclass(frozen=True, slots=True)
class Loaded:
    """A route whose model is in memory."""

    route: Route
    replica: Replica
    tally: Tally

    @classmethod
    def of(cls, route: Route, replica: Replica) -> Loaded:
        """A route from which nothing was asked yet."""
        resolved = replica.resolved
        return cls(route, replica, Tally(route.uri, route.name, resolved.version or 0, resolved.generation))


class Routes:
    """The routes of one revision of an endpoint.

    Attributes:
        endpoint: the revision.
        loaded: all of them, the one with the most weight first, shadows last.
        shadows: those that get copies.
    """

    def __init__(self, endpoint: Endpoint, loaded: Sequence[Loaded]) -> None:
        self.endpoint = endpoint
        self.loaded = sorted(loaded, key=lambda each: (each.route.shadow, -each.route.weight))
        self.shadows = [each for each in self.loaded if each.route.shadow]
        self._answering = [each for each in self.loaded if each.route.weight]
        self._edges = list(itertools.accumulate(each.route.weight for each in self._answering))
        self._tallies = {id(each.replica): each.tally for each in self.loaded}

    def pick(self, headers: Mapping[bytes, bytes], version: str | None) -> Replica:
        """The replica that answers; see `ServedModel.pick`."""
        if version is not None:
            return self._of_version(version)
        if len(self._answering) == 1:
            return self._answering[0].replica
        key = headers.get(KEY_HEADER)
        if key is not None:
            return max(self._answering, key=lambda each: _score(key, each.route)).replica
        drawn = random.random() * self._edges[-1]  # noqa: S311  shares requests out, hides nothing
        return self._answering[min(bisect.bisect_right(self._edges, drawn), len(self._edges) - 1)].replica

    def tally(self, replica: Replica) -> Tally | None:
        """The counts of the route that a replica is of; None for one of another revision."""
        return self._tallies.get(id(replica))

    def _of_version(self, version: str) -> Replica:
        own = [each.replica for each in self.loaded if not each.route.shadow]
        for replica in own:
            if replica.version == version:
                return replica
        raise unknown_version(self.endpoint.name, version, own)


def _score(key: bytes, route: Route) -> float:
    """How much a route wants a key.

    The one with the highest score gets it, each as often as its weight says; a weight that grows takes keys from the
    others, and moves none between them (weighted rendezvous hashing: Schindelhauer, Schomaker, "Weighted Distributed
    Hash Tables", 2005).
    """
    digest = blake2b(key + b"\0" + route.uri.encode(), digest_size=8).digest()
    return -route.weight / math.log((int.from_bytes(digest) + 0.5) / _HASHES)
