"""Which replica answers a request: the seam for weights, sticky keys and canaries.

A process serves several names. Behind each stands a `ServedModel`: one model that follows its alias (`FollowedModel`),
or anything else that picks a replica for each request, such as an endpoint with weighted routes. `open_model` in
`serving/opening.py` makes the right one for a URI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from prefect_ml.http.refusal import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prefect_ml.serving.follow import Follower, Served
    from prefect_ml.serving.observing import Observer
    from prefect_ml.serving.replica import Replica

_SHOWN = 100


class ServedModel(Protocol):
    """What answers under one name.

    Attributes:
        name: under which it is served; never changes.
        uri: that the operator gave.
        observers: those that are told of the requests to this name alone, such as shadow traffic.
    """

    name: str
    uri: str
    observers: Sequence[Observer]

    def pick(self, headers: Mapping[bytes, bytes], version: str | None) -> Replica:
        """The replica that answers a request; called on the event loop, so it neither waits nor reads anything.

        The request keeps what it is given until it is answered: a swap in between does not touch it.

        Args:
            headers: of the request, names in lower case.
            version: that the request names in its path; None for whichever is to answer.

        Raises:
            RefusedError: 404 when no replica has that version, 503 when none can answer now.
        """

    def replicas(self) -> Sequence[Replica]:
        """All that are loaded and may be picked, the one first that describes the model to clients."""

    def health(self) -> dict[str, Any]:
        """What `/health` tells of it; "status" is "ok" when it can answer."""

    def start(self) -> None:
        """Begin to follow; called once in the process that serves, when it begins to."""

    def stop(self) -> None:
        """End what `start` began; called once, in a thread, within the time to drain."""


class FollowedModel:
    """One replica at a time: a version, or what an alias, a stage or `latest` means now."""

    observers: Sequence[Observer] = ()

    def __init__(self, name: str, served: Served, follower: Follower | None) -> None:
        self.name = name
        self.uri = served.current.resolved.uri
        self._served = served
        self._follower = follower

    def pick(self, headers: Mapping[bytes, bytes], version: str | None) -> Replica:  # noqa: ARG002  one for all
        replica = self._served.current
        if version is not None and version != replica.version:
            raise unknown_version(self.name, version, (replica,))
        return replica

    def replicas(self) -> Sequence[Replica]:
        return (self._served.current,)

    def health(self) -> dict[str, Any]:
        return self._served.health()

    def start(self) -> None:
        if self._follower is not None:
            self._follower.start()

    def stop(self) -> None:
        if self._follower is not None:
            self._follower.stop()


class ServedModels:
    """Everything that one process serves, by name; the first is what paths without a name mean."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self._by_name = {model.name: model for model in models}
        self.first = next(iter(self._by_name.values()))

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._by_name.values())

    def named(self, name: str) -> ServedModel:
        """What is served under a name.

        Raises:
            RefusedError: 404, nothing is.
        """
        model = self._by_name.get(name)
        if model is None:
            known = ", ".join(list(self._by_name)[:10])
            raise RefusedError(404, "NOT_FOUND", f"No model is served as {name[:_SHOWN]!r}; there is: {known}.")
        return model

    def pick(self, name: str, headers: Mapping[bytes, bytes], version: str | None = None) -> Replica:
        """The replica that answers a request to a name; see `ServedModel.pick`."""
        return self.named(name).pick(headers, version)

    def health(self) -> dict[str, Any]:
        """What `/health` tells: of the first model at the top, of each under `models`."""
        each = {model.name: model.health() for model in self}
        status = "ok" if all(health["status"] == "ok" for health in each.values()) else "degraded"
        return {**each[self.first.name], "status": status, "models": each}

    def start(self) -> None:
        for model in self:
            model.start()

    def stop(self) -> None:
        for model in self:
            model.stop()


def unknown_version(name: str, version: str, replicas: Iterable[Replica]) -> RefusedError:
    """That a version is not loaded, and which are."""
    loaded = ", ".join(replica.version or "one without a version" for replica in replicas)
    return RefusedError(
        404, "NOT_FOUND", f"Version {version[:_SHOWN]!r} of {name!r} is not loaded here; there is: {loaded}."
    )
