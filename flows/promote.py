"""The flow that moves an alias: gates, a person's decision, verification, the move.

It can be run again at any point (retry, resume, a second process): each step reads the request that the flow run's id
names, and takes place once.
"""

from __future__ import annotations

import dataclasses
import re
from getpass import getuser
from typing import Any, cast

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from prefect_ml.blocks.server import TrackingServer
from prefect_ml.entities import GateResult, PromotionRequest, RequestStatus
from prefect_ml.flowruns import announced
from prefect_ml.flows.approval import await_decision
from prefect_ml.registry.description import describe
from prefect_ml.registry.gates import Gate
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store
from prefect_ml.tasks import evaluate_gate, move_alias

MOVABLE = (RequestStatus.APPROVED, RequestStatus.PROMOTED)


@flow(name="promote-model", flow_run_name="promote {name} {version} to {alias}")
def promote_model(  # noqa: PLR0917 - the parameters of a flow are a form, filled in by name
    name: str,
    version: int,
    alias: str = "champion",
    policy: str | None = None,
    stage: str | None = None,
    requester: str | None = None,
    tracking_server: str | None = None,
) -> Any:
    """Promote a model version: evaluate the gates, wait for a person, verify again and move the alias.

    How the run ends:

    - moved: Completed, with the alias as a dict;
    - rejected by a person: Completed, named "Rejected", with None: the question was answered;
    - failed gates: Failed, named "GatesFailed";
    - nobody decided in time: Failed, named "Expired", or failed by Prefect when the suspended run times out;
    - artifact, evidence or alias changed since the request: Failed.

    Args:
        name: The registered model.
        version: The version that asks for the alias.
        alias: The alias to move.
        policy: A stored policy by name; the one that protects the alias, or the default one, when empty.
        stage: A stage that the version enters with the move.
        requester: Who asks; the user of the process when empty. Name a person where the policy asks for four eyes.
        tracking_server: A TrackingServer block by name; the settings of the process when empty.
    """
    store = (
        cast("TrackingServer", TrackingServer.load(tracking_server)).get_store() if tracking_server else open_store()
    )
    run = _flow_run()

    def judge(gate: Gate) -> GateResult:
        return evaluate_gate(gate, name, version, alias, store=store)

    request = announced.request_promotion(
        store,
        name,
        version,
        alias,
        requester=requester or getuser(),
        key=f"flow-run-{run.id}",
        stage=stage,
        policy=policy,
        flow_run_id=str(run.id),
        judge=judge,
    )
    _publish(run, "evidence", request, store)
    decided = await_decision(store, request)
    return _conclude(store, run, decided)


def _conclude(store: Store, run: FlowRun, request: PromotionRequest) -> dict[str, Any] | State[Any]:
    alias = None
    if request.status in MOVABLE:
        actor = request.decisions[-1].actor if request.decisions else request.requester
        alias = move_alias(request.request_id, actor=actor, store=store)
        request = store.get_request(request.request_id)
    _publish(run, "decision", request, store)
    if alias is not None:
        get_run_logger().info("@%s of %s is version %d now.", alias.alias, alias.name, alias.version)
        return dataclasses.asdict(alias)
    what = f"{request.name} version {request.version} was not promoted to @{request.alias}"
    message = f"{what}: {request.status_reason or request.status}"
    if request.status is RequestStatus.REJECTED and any(not d.approve for d in request.decisions):
        return Completed(name="Rejected", message=message)
    name = "GatesFailed" if request.status is RequestStatus.REJECTED else request.status.capitalize()
    return Failed(name=name, message=message)


def _flow_run() -> FlowRun:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("promote_model is a flow: call it, not its function, so that it has a flow run.")
    return context.flow_run


def _publish(run: FlowRun, part: str, request: PromotionRequest, store: Store) -> None:
    """Leave the request as it stands on the run's page; a second pass finds it there."""
    slug = re.sub(r"[^a-z0-9]+", "-", f"{request.name}-{request.alias}".lower()).strip("-")
    key = f"promotion-{slug}-{part}" if slug else f"promotion-{part}"
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), key=ArtifactFilterKey(any_=[key])
            )
        )
    if not found:
        create_markdown_artifact(
            describe(request, store), key=key, description=f"Promotion request {request.request_id}"
        )
