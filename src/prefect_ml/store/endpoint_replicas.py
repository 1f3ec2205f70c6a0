"""What the replicas of endpoints say of themselves, each the last thing that it said."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from prefect_ml.entities import EndpointReplica, ReplicaState, RouteReport
from prefect_ml.errors import InvalidInputError
from prefect_ml.store.canonical import canonical
from prefect_ml.store.endpoint_routes import check_endpoint_name
from prefect_ml.store.endpoint_tables import endpoint_replicas
from prefect_ml.store.names import check_text
from prefect_ml.store.registry_names import check_generation, check_words, clip
from prefect_ml.store.rows import Rows, now
from prefect_ml.store.statements import upsert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

# Milliseconds after which a silent replica is forgotten, and between two looks for such.
_KEPT = 24 * 3_600_000
_SWEPT_EACH = 3_600_000
_MAX_ID = 200
_KEYS = ["endpoint", "replica_id"]
_CHANGED = [column.name for column in endpoint_replicas.c if column.name not in _KEYS]


class EndpointReplicaRows(Rows):
    _replicas_swept = 0

    def report_replica(self, replica: EndpointReplica) -> None:
        values = {
            "endpoint": check_endpoint_name(replica.endpoint),
            "replica_id": check_words("The id of a replica", replica.replica_id, _MAX_ID, needed=True),
            "host": check_words("The host of a replica", replica.host),
            "url": check_words("The URL of a replica", replica.url),
            "state": _state(replica.state),
            "wanted": check_generation(replica.wanted, "wanted"),
            "loaded": check_generation(replica.loaded, "loaded"),
            "error": clip(replica.error),
            "routes": canonical("What a replica reports of its routes", [asdict(each) for each in replica.routes]),
        }

        def work(connection: Connection) -> None:
            at = now()
            statement = upsert(connection, endpoint_replicas, _KEYS, _CHANGED)
            connection.execute(statement.values(values | {"heartbeat_at": at}))
            if at - self._replicas_swept > _SWEPT_EACH:
                connection.execute(delete(endpoint_replicas).where(endpoint_replicas.c.heartbeat_at < at - _KEPT))
                self._replicas_swept = at

        self.database.write(work)

    def remove_replica(self, endpoint: str, replica_id: str) -> None:
        named = endpoint_replicas.c.endpoint == check_text("The name of an endpoint", endpoint)
        mine = delete(endpoint_replicas).where(
            named, endpoint_replicas.c.replica_id == check_text("The id of a replica", replica_id)
        )
        self.database.write(lambda connection: connection.execute(mine) and None)

    def list_endpoint_replicas(self, endpoint: str) -> Sequence[EndpointReplica]:
        named = endpoint_replicas.c.endpoint == check_text("The name of an endpoint", endpoint)
        query = select(endpoint_replicas).where(named).order_by(endpoint_replicas.c.replica_id)
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        at = now()
        return [_replica(row, at) for row in rows]


def _state(value: Any) -> ReplicaState:
    try:
        return ReplicaState(value)
    except ValueError as error:
        raise InvalidInputError(
            f"{value!r} is no state of a replica; take one of {', '.join(ReplicaState)}."
        ) from error


def _replica(row: Any, at: int) -> EndpointReplica:
    routes = tuple(RouteReport(**each) for each in json.loads(row["routes"]))
    known = {**row} | {"routes": routes, "state": ReplicaState(row["state"])}
    return EndpointReplica(**known, silent=max(0, at - row["heartbeat_at"]) / 1000)
