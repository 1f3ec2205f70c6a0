"""What happens to endpoints, as events of Prefect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_ml.entities import AuditEntry
from prefect_ml.entities.endpoints import ENDPOINT_URI

CHANGED = "prefect-ml.endpoint.changed"
ROLLED_BACK = "prefect-ml.endpoint.rolled-back"
ACTIONS = {
    "endpoint-created": CHANGED,
    "endpoint-changed": CHANGED,
    "endpoint-rolled-back": ROLLED_BACK,
    "endpoint-deleted": CHANGED,
}
_FLOW_RUN = "flow-run-"


def resource_of(row: AuditEntry) -> dict[str, str]:
    """The endpoint that a row is about, as a resource."""
    name = row.subject.removeprefix(ENDPOINT_URI)
    return {
        "prefect.resource.id": f"prefect-ml.endpoint.{name}",
        "prefect.resource.name": name,
        "prefect-ml.kind": "endpoint",
        "prefect-ml.endpoint": name,
        "prefect-ml.action": row.action.removeprefix("endpoint-"),
    }


def related_of(row: AuditEntry) -> list[dict[str, str]]:
    """The flow run that rolls out, if one does."""
    rollout = str(row.after.get("rollout", ""))
    if not rollout.startswith(_FLOW_RUN):
        return []
    run = rollout.removeprefix(_FLOW_RUN)
    return [{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}]


def payload_of(row: AuditEntry) -> Mapping[str, Any]:
    """What changed: `routes` are weights, or "shadow", by URI; `before` are those of the revision before."""
    return {
        "name": row.subject.removeprefix(ENDPOINT_URI),
        "revision": row.after.get("revision"),
        "routes": row.after.get("routes", {}),
        "before": row.before.get("routes", {}),
        "rollout": row.after.get("rollout", ""),
        "step": row.after.get("step"),
        "actor": row.actor,
        "reason": row.reason,
    }
