"""The words of the domain: plain frozen values that every room exchanges.

Times are integers, milliseconds since the epoch (UTC). Ids are opaque strings. Nothing here knows SQL,
HTTP or Prefect.
"""

from __future__ import annotations

from prefect_ml.entities.endpoints import Endpoint, EndpointAction, EndpointReplica, ReplicaState, Route, RouteReport
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
