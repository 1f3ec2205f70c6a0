"""The flow that gives a model more and more of an endpoint's requests, and takes it back by itself."""

from __future__ import annotations

from getpass import getuser
from itertools import pairwise
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from prefect_ml.blocks.server import named_store
from prefect_ml.errors import InvalidInputError
from prefect_ml.flows.endpoint_rollout import Asked, roll_out
from prefect_ml.flows.page import flow_run_here
from prefect_ml.registry.endpoints import route_of
from prefect_ml.registry.rollouts import Bounds

_WHOLE = 100.0


@flow(name="canary", flow_run_name="canary of {model_uri} at {endpoint}")
def canary(  # noqa: PLR0917 - the parameters of a flow are a form, filled in by name
    endpoint: str,
    model_uri: str,
    weights: Annotated[list[float], Field(min_length=1)] = [5.0, 25.0, 50.0, 100.0],  # noqa: B006 - shown in the form
    seconds: Annotated[float, Field(ge=0)] = 300.0,
    error_rate: Annotated[float, Field(ge=0, le=1)] = 0.01,
    latency_ratio: Annotated[float, Field(gt=0)] | None = 2.0,
    drift: Annotated[float, Field(gt=0)] | None = 0.25,
    requests: Annotated[int, Field(ge=1)] = 50,
    patience: Annotated[float, Field(ge=0)] = 3600.0,
    replicas: Annotated[int, Field(ge=0)] = 1,
    timeout: Annotated[float, Field(gt=0)] = 600.0,
    requester: str | None = None,
    tracking_server: str | None = None,
) -> Any:
    """Give a model the weights one after the other; what breaks a bound takes it back to the routes of before.

    At each step the new version is compared with those that it replaces, on the requests that both answered in the
    same time: failed requests, p95 latency, and the population stability index of the predictions. Each step is a
    revision of the endpoint, task runs, and a Markdown artifact with the numbers. A run that was killed and is executed
    again goes on at the step where it was. Approval and how the run ends: as in the flow `deploy-model`.

    Args:
        endpoint: The endpoint, made by `prefect-ml endpoints create`.
        model_uri: `models:/churn/4`, or an alias that replicas then follow.
        weights: Percent of the requests, growing; 100 is added at the end where it is missing.
        seconds: How long each step is watched.
        error_rate: How much more of its requests may fail than of the others', from 0 to 1.
        latency_ratio: How many times the others' p95 latency its own may be; no bound when empty.
        drift: The population stability index that its predictions may have; no bound when empty.
        requests: How many requests it must have answered at a step before it is judged.
        patience: Seconds beyond its own that a step waits for these; then it is taken back. 0 goes on without them.
        replicas: How many replicas must be there at least.
        timeout: Seconds until all replicas have loaded it.
        requester: Who asks; the user of the process when empty.
        tracking_server: A TrackingServer block by name; the settings of the process when empty.
    """
    store = named_store(tracking_server)
    bounds = Bounds(error_rate, latency_ratio, drift, requests)
    asked = Asked(
        endpoint, route_of(store, model_uri), _steps(weights), seconds, bounds, replicas, timeout, patience,
        requester or getuser(),
    )  # fmt: skip
    return roll_out(store, flow_run_here(), asked)


def _steps(weights: list[float]) -> tuple[float, ...]:
    steps = (*weights, _WHOLE) if weights[-1] < _WHOLE else tuple(weights)
    if steps[0] <= 0 or steps[-1] > _WHOLE or any(one >= other for one, other in pairwise(steps)):
        raise InvalidInputError(
            f"The weights of a canary are growing percentages, such as 5, 25, 50, 100, not {weights}."
        )
    return steps
