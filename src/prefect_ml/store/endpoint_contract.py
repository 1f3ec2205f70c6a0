"""The part of the store's port that is about endpoints and their replicas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prefect_ml.entities import Endpoint, EndpointReplica, Route


class EndpointStore(Protocol):
    """Endpoints, each change a revision with its row of the audit log, and what their replicas say of themselves.

    The routes of a revision have different URIs; the weights of those that are no shadows make 100. A version whose
    weight is not 0 must be there, and an alias must be set. Where a policy protects the alias `endpoint.<name>` of the
    model, or an alias that the endpoint routed to at any time since it was created, only versions that were approved
    for one of these (or are at it now) may have a weight, and aliases that a policy protects: else `ProtectedError`.
    What had a weight since the endpoint was created may have one again.

    What the revision in force routes to (a version, an alias with the version that it is at, their model), with weight
    or without, stays: who would delete or rename it gets `ProtectedError`.
    """

    def create_endpoint(self, name: str, routes: Sequence[Route], *, actor: str = "", reason: str = "") -> Endpoint:
        """Create one; `AlreadyExistsError` when it is there.

        Args:
            name: 1 to 63 lower-case letters, digits and dashes, as the label of a host name.
            routes: behind it.
            actor: who does it; found out when not said.
            reason: why.
        """
        ...

    def change_endpoint(
        self,
        name: str,
        routes: Sequence[Route],
        *,
        expected_revision: int,
        actor: str = "",
        reason: str = "",
        rollout: str = "",
        step: int = 0,
    ) -> Endpoint:
        """Put other routes in force as the next revision; `StaleRevisionError` when another one is in force by now.

        The same step of the same rollout again returns the revision that it made.
        """
        ...

    def roll_back_endpoint(
        self,
        name: str,
        *,
        to_revision: int,
        expected_revision: int,
        actor: str = "",
        reason: str = "",
        rollout: str = "",
        step: int = 0,
    ) -> Endpoint:
        """Put the routes of an earlier revision in force again, as the next one; a reason is needed.

        `StaleRevisionError` when another revision than the expected one is in force by now.
        """
        ...

    def delete_endpoint(self, name: str, *, actor: str = "", reason: str = "") -> None:
        """Delete it: its replicas refuse requests from then on. Its revisions stay, as its history."""
        ...

    def get_endpoint(self, name: str) -> Endpoint:
        """The revision in force; `NotFoundError` also when it was deleted."""
        ...

    def list_endpoints(self) -> Sequence[Endpoint]:
        """The revision in force of each, by name."""
        ...

    def list_endpoint_revisions(
        self, name: str, *, max_results: int = 100, before: int | None = None, rollout: str | None = None
    ) -> Sequence[Endpoint]:
        """The history, newest first, that of a deleted one included: of one rollout, or all.

        Args:
            name: of the endpoint.
            max_results: how many, 1,000 at most.
            before: only older ones than this revision.
            rollout: only those of this rollout.
        """
        ...

    def report_replica(self, replica: EndpointReplica) -> None:
        """Keep what a replica says of itself, in the place of what it said before; also a sign of life.

        `heartbeat_at` and `silent` are the store's to say. What has been silent for a day is forgotten.
        """
        ...

    def remove_replica(self, endpoint: str, replica_id: str) -> None:
        """Forget a replica that has ended; one that is not there is no error."""
        ...

    def list_endpoint_replicas(self, endpoint: str) -> Sequence[EndpointReplica]:
        """Its replicas by id, those that have been silent for long included: see `silent`."""
        ...
