"""How far a rollout is, and whether it may go on: read from revisions and from what replicas say, each time anew.

A rollout is a row of revisions of an endpoint under one name. Step 0 has the new model loaded without weight, each
further step gives it more, and the last one leaves it alone. So whoever was interrupted goes on where they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_ml.entities import EndpointAction, ReplicaState
from prefect_ml.registry.traffic import Drift, drift, seconds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.entities import Endpoint, EndpointReplica
    from prefect_ml.registry.traffic import Traffic
    from prefect_ml.store.contract import Store

# Seconds without a word after which a replica is taken for dead; it reports every other second by default.
SILENT = 30.0
_CHANCE = 0.001
# Seconds: what an answer may take longer without anybody noticing; below, times are the machine's and not the model's.
_FELT = 0.005
# Beyond this, Poisson's distribution is as good as normal.
_MANY = 500.0
_NORMAL_999 = 3.0902


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a new version may do worse than the one before it.

    Attributes:
        error_rate: how much higher its share of requests that are not answered 200 may be, from 0 to 1.
        latency_ratio: how many times the other's p95 latency its own may be; None for no bound.
        drift: the population stability index of its predictions against the other's; None for no bound. An index that
            chance alone explains (999 in 1,000) breaks no bound.
        requests: how many requests it must have answered before it is judged.
    """

    error_rate: float = 0.01
    latency_ratio: float | None = 2.0
    drift: float | None = 0.25
    requests: int = 50


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout is.

    Attributes:
        base: the revision that it began with, and goes back to.
        last: its own newest revision; None before it changed anything.
        in_force: the revision of now.
    """

    base: Endpoint
    last: Endpoint | None
    in_force: Endpoint

    @property
    def overtaken(self) -> bool:
        """Whether somebody else changed the endpoint since."""
        return self.in_force.revision != (self.last or self.base).revision

    @property
    def rolled_back(self) -> bool:
        return self.last is not None and self.last.action is EndpointAction.ROLLED_BACK


def progress(store: Store, name: str, rollout: str) -> Progress:
    """How far a rollout of an endpoint is.

    Raises:
        NotFoundError: there is no such endpoint.
    """
    in_force = store.get_endpoint(name)
    own = store.list_endpoint_revisions(name, rollout=rollout, max_results=1000)
    if not own:
        return Progress(in_force, None, in_force)
    base = store.list_endpoint_revisions(name, before=own[-1].revision, max_results=1)[0]
    return Progress(base, own[0], in_force)


def alive(replicas: Sequence[EndpointReplica]) -> list[EndpointReplica]:
    """Those that gave a sign of life lately."""
    return [each for each in replicas if each.silent < SILENT]


def failed(replicas: Sequence[EndpointReplica], revision: int) -> str:
    """Why a replica cannot answer by a revision, "" when all that are alive can, or may still come to it."""
    for each in alive(replicas):
        if each.state is ReplicaState.FAILED and each.wanted >= revision > each.loaded:
            return f"the replica {each.replica_id} at {each.url or each.host} cannot load it: {each.error}"
    return ""


def waits_for(replicas: Sequence[EndpointReplica], revision: int, count: int) -> str:
    """What is still missing until at least `count` replicas, and all that are alive, answer by a revision."""
    found = alive(replicas)
    ready = [each for each in found if each.loaded >= revision]
    if len(ready) == len(found) >= count:
        return ""
    return f"{len(ready)} of {len(found)} replicas answer by revision {revision}, and at least {count} are to"


def broken(new: Traffic, usual: Traffic, bounds: Bounds) -> list[str]:
    """The bounds that a version breaks, in words; none before it has answered enough requests.

    Args:
        new: what was counted of the version that is rolled out.
        usual: what was counted of those that it replaces, in the same time.
        bounds: what it may do worse.
    """
    if new.requests < bounds.requests:
        return []
    words = []
    tolerated = usual.error_rate + bounds.error_rate
    if new.error_rate > tolerated and _surprising(new.errors, tolerated * new.requests):
        words.append(f"{new.error_rate:.1%} of its requests failed, and {usual.error_rate:.1%} of the others'")
    if usual.requests < bounds.requests:
        return words
    if new.p95 and usual.p95 and bounds.latency_ratio is not None and _slower(new, usual.p95, bounds.latency_ratio):
        words.append(
            f"its p95 latency is {new.p95:.2g} s, {new.p95 / usual.p95:.1f} times the others' {usual.p95:.2g} s"
        )
    found = drift(usual.predictions, new.predictions)
    if bounds.drift is not None and found is not None and _drifted(found, bounds.drift, bounds.requests):
        words.append(f"its predictions drifted: population stability index {found.index:.2f}, {bounds.drift:g} at most")
    return words


def _slower(new: Traffic, usual: float, ratio: float) -> bool:
    """Whether more than 5 % of the answers took longer than so many times the usual p95, and it is felt."""
    bound = max(ratio * usual, usual + _FELT)
    late = sum(count for bucket, count in new.seconds.items() if seconds_of(bucket) > bound)
    return _surprising(late, 0.05 * sum(new.seconds.values()))


def _drifted(found: Drift, most: float, requests: int) -> bool:
    return found.predictions >= requests and found.index > max(most, found.noise)


def _surprising(count: int, expected: float) -> bool:
    """Whether chance alone gives so many events, or more, in less than one of 1,000 cases (Poisson's distribution)."""
    if expected > _MANY:
        return count > expected + _NORMAL_999 * math.sqrt(expected)
    below, term = 0.0, math.exp(-expected)
    for number in range(count):
        below += term
        term *= expected / (number + 1)
    return 1 - below < _CHANCE
