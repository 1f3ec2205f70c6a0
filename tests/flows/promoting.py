"""Versions to promote, and promotion flows that are interrupted and executed again under the same flow run."""

from __future__ import annotations

import json

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.flow_engine import run_flow
from prefect.states import Pending
from sklearn.linear_model import LinearRegression

from prefect_ml.entities import Metric
from prefect_ml.flows.promote import promote_model
from prefect_ml.models.folder import save_model
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.registry.promotion import decide, move, request_promotion
from prefect_ml.registry.register import register_model

MODEL = "churn"
ROWS = [[0.0], [1.0], [2.0]]


class Killed(BaseException):
    """Ends a process at a point of the test's choice, as far as one process can tell."""


def registered(store, folder, auc=0.9):
    """A small model as the next version, with a metric on its run."""
    target = folder / f"model-{len(store.search_model_versions().items)}"
    save_model(LinearRegression().fit(ROWS, [0.0, 1.0, 2.0]), target, input_example=ROWS)
    run = store.create_run("0")
    store.log_batch(run.run_id, metrics=[Metric("auc", auc, run.start_time)])
    return register_model(store, str(target), MODEL, run_id=run.run_id)


def protect(store, **clauses):
    """A policy for the champion: one metric gate and one approval, unless the clauses say otherwise."""
    gate = {"type": "metric_threshold", "metric": "auc", "minimum": 0.5}
    rules = PromotionPolicy.from_yaml(json.dumps({"name": "p", "aliases": ["champion"], "gates": [gate]} | clauses))
    return store.save_policy(rules.to_entity(), actor="ops", reason="test")


def promoted(store, version):
    """Promote without a flow."""
    request = request_promotion(store, MODEL, version, "champion", requester="zoe")
    if request.status == "PENDING":
        decide(store, request.request_id, approve=True, actor="bob")
    move(store, request.request_id, actor="bob")
    return request.request_id


def new_run(version, flow=promote_model, **parameters):
    """A flow run that nobody executes yet, and its parameters."""
    parameters = {"name": MODEL, "version": version, "alias": "champion", "requester": "ann"} | parameters
    with get_client(sync_client=True) as client:
        return client.create_flow_run(flow, parameters=parameters).id, parameters


def execute(flow_run_id, parameters, flow=promote_model):
    """Execute a flow run here, the first time or again; its final state."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id, Pending(), force=True)
        flow_run = client.read_flow_run(flow_run_id)
    return run_flow(flow, flow_run=flow_run, parameters=dict(parameters), return_type="state")


def artifacts_of(flow_run_id):
    with get_client(sync_client=True) as client:
        by_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        return {artifact.key: artifact.data for artifact in client.read_artifacts(artifact_filter=by_run)}


def deployed_run(version, flow=promote_model, **parameters):
    """A flow run of a deployment that no worker executes, and its parameters."""
    parameters = {"name": MODEL, "version": version, "alias": "champion", "requester": "ann"} | parameters
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(flow)
        deployment = client.create_deployment(flow_id, name="here", enforce_parameter_schema=False)
        return client.create_flow_run_from_deployment(deployment, parameters=parameters).id, parameters


def state_of(flow_run_id):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run_id).state
