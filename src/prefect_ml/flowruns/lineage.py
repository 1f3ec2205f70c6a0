"""The lineage of a model version on the page of the flow run that registered it: one artifact a model, by version."""

from __future__ import annotations

from dataclasses import replace

from prefect.context import FlowRunContext, TaskRunContext
from prefect.utilities.urls import url_for

from prefect_ml.entities import ModelVersion, RunStatus
from prefect_ml.flowruns.background import api_url, post_soon
from prefect_ml.flowruns.harmless import harmless
from prefect_ml.flowruns.summary import artifact_key
from prefect_ml.flowruns.telling import tell_soon
from prefect_ml.lineage.facts import Lineage
from prefect_ml.lineage.markdown import markdown
from prefect_ml.lineage.read import get_lineage
from prefect_ml.store.contract import Store
from prefect_ml.tracking.outlet import flush_all

# What a run came from is looked up in the background; this is how long its lineage waits for that.
_SECONDS = 5.0


def model_registered(store: Store, version: ModelVersion) -> None:
    """Tell Prefect of a new version: an event, and inside of a flow run its lineage as an artifact."""
    if api_url() is None:
        return
    with harmless("Prefect is not told of a new model version"):
        flush_all(_SECONDS)
        tell_soon(store)
        _show(store, version)


def _show(store: Store, version: ModelVersion) -> None:
    context, task = FlowRunContext.get(), TaskRunContext.get()
    if context is None or context.flow_run is None:
        return
    found = get_lineage(store, f"models:/{version.name}/{version.version}")
    if found.run is not None and found.run.status is RunStatus.RUNNING:
        # What is imported later belongs to the run's environment as well: its digest is known at the end alone.
        found = replace(found, environment_digest="")
    artifact = {
        "key": f"{artifact_key(version.name) or 'model'}-lineage",
        "type": "markdown",
        "description": f"What produced version {version.version} of {version.name}.",
        "data": markdown(found, _links(found)),
        "flow_run_id": str(context.flow_run.id),
        "task_run_id": None if task is None else str(task.task_run.id),
    }
    post_soon("/artifacts/", artifact)


def _links(lineage: Lineage) -> dict[str, str]:
    """The pages of Prefect's UI by id; a run of a flow run is shown there."""
    flow_run, deployment = lineage.execution.flow_run_id, lineage.execution.deployment_id
    pages = {
        flow_run: flow_run and url_for("flow-run", obj_id=flow_run),
        deployment: deployment and url_for("deployment", obj_id=deployment),
    }
    if lineage.run is not None and lineage.run.run_id == flow_run.replace("-", ""):
        pages[lineage.run.run_id] = pages[flow_run]
    return {id_: page for id_, page in pages.items() if id_ and page}
