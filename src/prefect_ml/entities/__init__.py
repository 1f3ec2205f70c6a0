"""The words of the domain: plain frozen values that every room exchanges.

Times are integers, milliseconds since the epoch (UTC). Ids are opaque strings. Nothing here knows SQL,
HTTP or Prefect. A module is imported when one of its words is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_ml.entities.endpoints import (
        Endpoint,
        EndpointAction,
        EndpointReplica,
        ReplicaState,
        Route,
        RouteReport,
    )
    from prefect_ml.entities.execution import Attempt, Source, Step
    from prefect_ml.entities.journal import JournalSpan, Recorded, Rejection, RunBatch, RunEnd, RunStart
    from prefect_ml.entities.logged_models import LoggedModel, LoggedModelOrder, LoggedModelStatus, ModelMetric
    from prefect_ml.entities.registry import (
        Alias,
        AliasMove,
        AuditEntry,
        Decision,
        GateResult,
        ModelVersion,
        Policy,
        PromotionRequest,
        RecordedGate,
        RegisteredModel,
    )
    from prefect_ml.entities.runs import (
        ArtifactInfo,
        Dataset,
        DatasetInput,
        DatasetSummary,
        Experiment,
        Metric,
        ModelOutput,
        Run,
    )
    from prefect_ml.entities.webhooks import (
        Delivery,
        DeliveryStatus,
        Webhook,
        WebhookAction,
        WebhookEntity,
        WebhookEvent,
        WebhookStatus,
    )
    from prefect_ml.entities.words import (
        Decay,
        LifecycleStage,
        Page,
        RequestKind,
        RequestStatus,
        RunStatus,
        Stage,
        ViewType,
    )

__all__ = [
    "Alias",
    "AliasMove",
    "ArtifactInfo",
    "Attempt",
    "AuditEntry",
    "Dataset",
    "DatasetInput",
    "DatasetSummary",
    "Decay",
    "Decision",
    "Delivery",
    "DeliveryStatus",
    "Endpoint",
    "EndpointAction",
    "EndpointReplica",
    "Experiment",
    "GateResult",
    "JournalSpan",
    "LifecycleStage",
    "LoggedModel",
    "LoggedModelOrder",
    "LoggedModelStatus",
    "Metric",
    "ModelMetric",
    "ModelOutput",
    "ModelVersion",
    "Page",
    "Policy",
    "PromotionRequest",
    "Recorded",
    "RecordedGate",
    "RegisteredModel",
    "Rejection",
    "ReplicaState",
    "RequestKind",
    "RequestStatus",
    "Route",
    "RouteReport",
    "Run",
    "RunBatch",
    "RunEnd",
    "RunStart",
    "RunStatus",
    "Source",
    "Stage",
    "Step",
    "ViewType",
    "Webhook",
    "WebhookAction",
    "WebhookEntity",
    "WebhookEvent",
    "WebhookStatus",
]

_WHERE = {
    name: module
    for module, names in {
        "endpoints": (
            "Endpoint",
            "EndpointAction",
            "EndpointReplica",
            "ReplicaState",
            "Route",
            "RouteReport",
        ),
        "execution": (
            "Attempt",
            "Source",
            "Step",
        ),
        "journal": (
            "JournalSpan",
            "Recorded",
            "Rejection",
            "RunBatch",
            "RunEnd",
            "RunStart",
        ),
        "logged_models": (
            "LoggedModel",
            "LoggedModelOrder",
            "LoggedModelStatus",
            "ModelMetric",
        ),
        "registry": (
            "Alias",
            "AliasMove",
            "AuditEntry",
            "Decision",
            "GateResult",
            "ModelVersion",
            "Policy",
            "PromotionRequest",
            "RecordedGate",
            "RegisteredModel",
        ),
        "runs": (
            "ArtifactInfo",
            "Dataset",
            "DatasetInput",
            "DatasetSummary",
            "Experiment",
            "Metric",
            "ModelOutput",
            "Run",
        ),
        "webhooks": (
            "Delivery",
            "DeliveryStatus",
            "Webhook",
            "WebhookAction",
            "WebhookEntity",
            "WebhookEvent",
            "WebhookStatus",
        ),
        "words": (
            "Decay",
            "LifecycleStage",
            "Page",
            "RequestKind",
            "RequestStatus",
            "RunStatus",
            "Stage",
            "ViewType",
        ),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    if (module := _WHERE.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return found
