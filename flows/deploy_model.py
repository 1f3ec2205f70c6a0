"""The flow that brings a model to an endpoint and proves that it serves before it answers alone."""

from __future__ import annotations

from getpass import getuser
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from prefect_ml.blocks.server import named_store
from prefect_ml.flows.endpoint_rollout import Asked, roll_out
from prefect_ml.flows.page import flow_run_here
from prefect_ml.registry.endpoints import route_of
from prefect_ml.registry.rollouts import Bounds


@flow(name="deploy-model", flow_run_name="deploy {model_uri} to {endpoint}")
def deploy_model(  # noqa: PLR0917 - the parameters of a flow are a form, filled in by name
    endpoint: str,
    model_uri: str,
    seconds: Annotated[float, Field(ge=0)] = 30.0,
    error_rate: Annotated[float, Field(ge=0, le=1)] = 0.01,
    replicas: Annotated[int, Field(ge=0)] = 1,
    timeout: Annotated[float, Field(gt=0)] = 600.0,
    requester: str | None = None,
    tracking_server: str | None = None,
) -> Any:
    """Bring a model to an endpoint: approved, loaded by all replicas, given half of the requests, then all of them.

    Where a policy protects an alias that the endpoint routes to, or lists the alias `endpoint.<name>`, its gates are
    judged and people are asked first, as in a promotion; the alias moves when the version has all requests. Then each
    replica loads the model beside what it answers with, which warms it by its input example. Half of the requests go
    to it, and after `seconds` all of them. A replica that cannot load it, or more failed requests than the other half
    has, take it back to the routes of before. It goes on also when few requests come: the flow `canary` asks for more.

    How the run ends:

    - answering alone: Completed, with the revision and its routes;
    - taken back: Failed, named "RolledBack", with the reason;
    - somebody else changed the endpoint meanwhile: Failed, named "Superseded";
    - rejected by a person: Completed, named "Rejected"; failed gates: Failed, named "GatesFailed".

    Args:
        endpoint: The endpoint, made by `prefect-ml endpoints create`.
        model_uri: `models:/churn/4`, or an alias that replicas then follow.
        seconds: How long it is watched with half of the requests, and then with all.
        error_rate: How much more of its requests may fail than of the others', from 0 to 1.
        replicas: How many replicas must be there at least.
        timeout: Seconds until all replicas have loaded it.
        requester: Who asks; the user of the process when empty.
        tracking_server: A TrackingServer block by name; the settings of the process when empty.
    """
    store = named_store(tracking_server)
    bounds = Bounds(error_rate=error_rate, latency_ratio=None, drift=None)
    asked = Asked(
        endpoint, route_of(store, model_uri), (50.0, 100.0), seconds, bounds, replicas, timeout, 0.0,
        requester or getuser(),
    )  # fmt: skip
    return roll_out(store, flow_run_here(), asked)
