"""What a flow of a promotion leaves on the page of its run; a second pass finds it there."""

from __future__ import annotations

import re

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from prefect_ml.entities import PromotionRequest, RequestStatus
from prefect_ml.flowruns.card import promotion_card
from prefect_ml.flowruns.harmless import harmless
from prefect_ml.store.contract import Store


def flow_run_here() -> FlowRun:
    """The run of the flow that is executed here.

    Raises:
        RuntimeError: the function of a flow was called, not the flow.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("This is a flow: call it, not its function, so that it has a flow run.")
    return context.flow_run


def publish_request(run: FlowRun, part: str, request: PromotionRequest, store: Store, number: int = 1) -> None:
    """Leave the card of a request as it stands; again when people decided since and more have to.

    Args:
        run: the flow run.
        part: "evidence" or "decision".
        request: the request.
        store: where its metrics are.
        number: the round that it is of.
    """
    last = "" if number == 1 else f"-{number}"
    about = f"Promotion request {request.request_id}"
    if request.status is RequestStatus.PENDING and request.decisions:
        about = f"{about} after {len(request.decisions)} decisions"
    card = promotion_card(store, request)
    publish_text(run, f"promotion-{request.name}-{request.alias}-{part}{last}", card, about)


def publish_text(run: FlowRun, about: str, markdown: str, description: str) -> None:
    """Leave a text under a key made of what it is about; one with the description is there already on a second pass.

    Where Prefect does not take it that is a warning: what is told of a step must not keep a bad version in its place.
    """
    key = re.sub(r"[^a-z0-9]+", "-", about.lower()).strip("-")
    with harmless(f"{description!r} is not shown on the page of the flow run"):
        with get_client(sync_client=True) as client:
            found = client.read_artifacts(
                artifact_filter=ArtifactFilter(
                    flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), key=ArtifactFilterKey(any_=[key])
                )
            )
        if not any(each.description == description for each in found):
            create_markdown_artifact(markdown, key=key, description=description)
