"""Endpoints: a name that clients ask, the models behind it, and the processes that answer for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

# What the URIs of endpoints begin with, by which the audit log and what holds something name one.
ENDPOINT_URI = "endpoints:/"


@dataclass(frozen=True, slots=True)
class Route:
    """One registered model behind an endpoint.

    Attributes:
        name: of the registered model.
        version: its version; None for what `alias` points at.
        alias: followed by the replicas; None where `version` is given.
        weight: percent of the requests that it answers; those of an endpoint make 100.
        shadow: whether it gets a copy of the requests instead, after they are answered; then its weight is 0.
    """

    name: str
    version: int | None = None
    alias: str | None = None
    weight: float = 0.0
    shadow: bool = False

    @property
    def uri(self) -> str:
        """The model's URI, such as "models:/churn@champion"."""
        return f"models:/{self.name}/{self.version}" if self.alias is None else f"models:/{self.name}@{self.alias}"


class EndpointAction(StrEnum):
    """What a revision of an endpoint did."""

    CREATED = "created"
    CHANGED = "changed"
    ROLLED_BACK = "rolled-back"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A revision of an endpoint; the newest one is in force.

    Attributes:
        revision: from 1, one more with each change, and never reused, also after the endpoint was deleted.
        changed_at: in milliseconds since the epoch.
        rollout: names the rollout that made the revision; "" for one made by hand.
        step: which step of the rollout it is, from 0.
        bound: the protected aliases that it routed to since it was created, as "churn@champion": what was approved for
            them may answer.
    """

    name: str
    revision: int
    routes: Sequence[Route]
    action: EndpointAction
    changed_at: int
    changed_by: str
    reason: str
    rollout: str = ""
    step: int = 0
    bound: Sequence[str] = ()


class ReplicaState(StrEnum):
    """How far a replica is.

    LOADING: it loads models of a revision, and answers by the one before, if any.
    READY: it answers by the newest revision that it knows.
    FAILED: the newest revision cannot be loaded; it answers by the one before, if any.
    """

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RouteReport:
    """What a replica has loaded for a route, and what it saw of it since it answers by its revision.

    Attributes:
        uri: of the route.
        name: of the registered model.
        version: that is loaded.
        generation: of the alias, 0 for a route by version.
        requests: that it answered, errors included.
        errors: of these, the ones that were not answered 200, whoever is to blame.
        seconds: how many answers took how long, by the bucket (see `prefect_ml.registry.traffic`).
        predictions: how many predictions were in which bucket or, for texts, the same.
        compared: copies of requests that a shadow answered; 0 for other routes.
        differing: of these, the ones that it answered otherwise.
    """

    uri: str
    name: str
    version: int
    generation: int = 0
    requests: int = 0
    errors: int = 0
    seconds: Mapping[str, int] = field(default_factory=dict)
    predictions: Mapping[str, int] = field(default_factory=dict)
    compared: int = 0
    differing: int = 0


@dataclass(frozen=True, slots=True)
class EndpointReplica:
    """A process that answers for an endpoint, as it said itself.

    Attributes:
        replica_id: of the process, never reused.
        host: name of its machine.
        url: where it answers.
        wanted: the revision that it works towards.
        loaded: the revision that it answers by, 0 when it has none yet.
        error: why the wanted revision is not the loaded one, "" when nothing is wrong.
        routes: what it has loaded.
        heartbeat_at: when it reported last, in milliseconds since the epoch; the store says it.
        silent: seconds since then, by the store's clock when it was asked.
    """

    endpoint: str
    replica_id: str
    host: str
    url: str
    state: ReplicaState
    wanted: int
    loaded: int
    error: str = ""
    routes: Sequence[RouteReport] = ()
    heartbeat_at: int = 0
    silent: float = 0.0
