"""What a flow of a promotion leaves on the page of its run; a second pass finds it there."""

from __future__ import annotations

import re

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from prefect_ml.entities import PromotionRequest
from prefect_ml.registry.description import describe
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
    """Leave a request as it stands.

    Args:
        run: the flow run.
        part: "evidence" or "decision".
        request: the request.
        store: where its metrics are.
        number: the round that it is of.
    """
    last = "" if number == 1 else f"-{number}"
    about = f"Promotion request {request.request_id}"
    publish_text(run, f"promotion-{request.name}-{request.alias}-{part}{last}", describe(request, store), about)


def publish_text(run: FlowRun, about: str, markdown: str, description: str) -> None:
    """Leave a text under a key made of what it is about."""
    key = re.sub(r"[^a-z0-9]+", "-", about.lower()).strip("-")
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), key=ArtifactFilterKey(any_=[key])
            )
        )
    if not found:
        create_markdown_artifact(markdown, key=key, description=description)
