"""A closed loop: what a model is asked drifts away from its training data, which starts the training of its successor.

    prefect server start                 # in another terminal, and PREFECT_API_URL set to it here
    python examples/closed_loop.py

Train, register, promote; serve with the inference log; customers change; the drift flow finds it and emits an event; an
automation starts the retraining; its new version asks for the alias, and waits for a person to approve it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pandas as pd
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ObjectNotFound
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

import prefect_ml as ml
from prefect_ml.drift.reference import keep_reference
from prefect_ml.flows.drift import detect_drift
from prefect_ml.registry.metric_gates import MetricThreshold
from prefect_ml.registry.policy import PromotionPolicy

MODEL = "spending"
YOUNG, OLD = 40.0, 62.0
PATIENCE = 180.0


def customers(count: int, age: float, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """Customers around an age, and what each of them spends."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": draw.normal(age, 8.0, count), "visits": draw.poisson(3.0, count).astype(float)})
    spent = 200 - 0.05 * (frame["age"] - 60) ** 2 + 12 * frame["visits"] + draw.normal(0, 5, count)
    return frame, spent.rename("spent")


@task
def fit(age: float) -> LinearRegression:
    """Fit on customers of now, and keep what they look like."""
    frame, spent = customers(4000, age, seed=1)
    model = LinearRegression().fit(frame, spent)
    fresh, truth = customers(1000, age, seed=2)
    ml.log_metric("r2", r2_score(truth, model.predict(fresh)))
    keep_reference(ml.current_run(), frame, model.predict(frame))
    return model


@ml.track(experiment="closed-loop")
@flow(name="train-spending", log_prints=True)
def train_spending(age: float = 40.0, because: str = "") -> int:
    """Train on customers around an age and register the model; its version asks for the alias of the champion."""
    model = fit(age)
    logged = ml.log_model(model, "model", input_example=customers(3, age, 3)[0], register=MODEL)
    version = int(logged.version or 0)
    request = ml.request_promotion(MODEL, version, requester="train-spending")
    print(f"Version {version} asks for @champion ({because or 'the first'}): prefect-ml approve {request.request_id}")
    return version


def retrain_on_drift() -> None:
    """Offer the training as a deployment that an automation starts when the champion drifts; runs until stopped."""
    trigger = DeploymentEventTrigger(
        name=f"{MODEL} drifts -> train",
        match={"prefect-ml.model": MODEL, "prefect-ml.alias": "champion"},
        expect={"prefect-ml.drift.detected"},
        parameters={
            "age": OLD,
            "because": {
                "__prefect_kind": "jinja",
                "template": "drift of version {{ event.payload.version }}: {{ event.payload.columns | join(', ') }}",
            },
        },
    )
    train_spending.serve(name="on-drift", triggers=[trigger])


@contextmanager
def running(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process beside this one, stopped at the end."""
    process = subprocess.Popen(  # noqa: S603 - a command of this file
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def ask(url: str, age: float, seed: int) -> None:
    """Ask the served model about customers of an age, forty at a time."""
    frame, _ = customers(2000, age, seed)
    with httpx.Client(base_url=url, timeout=60) as client:
        for start in range(0, len(frame), 40):
            rows = frame[start : start + 40].to_dict(orient="split", index=False)
            client.post("/invocations", json={"dataframe_split": rows}).raise_for_status()


def until(look: Callable[[], Any], what: str) -> Any:
    """The first true thing that `look` returns."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.5)
    raise TimeoutError(f"{what} did not happen within {PATIENCE:g} s.")


def champion_of_today() -> int:
    """Train, and approve the version as a person would; its number."""
    gates = (MetricThreshold(metric="r2", minimum=0.5),)
    policy = PromotionPolicy(name=MODEL, model_pattern=MODEL, aliases=("champion",), gates=gates)
    ml.open_store().save_policy(policy.to_entity(), actor="train-spending", reason="the closed loop")
    version = train_spending(YOUNG)
    request = newer_than(version - 1)
    ml.approve(request.request_id, actor="a-person")
    return ml.promote(request.request_id).version


def traffic(log: str, age: float, seed: int) -> None:
    """Serve the champion with the inference log, and ask it; the log is written to its end when the server stops."""
    serve = str(Path(sys.executable).with_name("prefect-ml"))
    command = (serve, "serve", f"models:/{MODEL}@champion", "--port", "0")
    with running(*command, PREFECT_ML_INFERENCE_LOG=log) as server:
        line = server.stdout.readline() if server.stdout else ""
        print(line.strip())
        ask(line.split(" at ")[1].strip(), age, seed)


def deployment() -> Any:
    """The deployment of the training, once its process has made it."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name("train-spending/on-drift")
        except ObjectNotFound:
            return None


def trained(deployment_id: UUID) -> bool:
    """Whether a run of the deployment has ended."""
    of_it = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(deployment_filter=of_it)
    return any(run.state is not None and run.state.is_final() for run in found)


def newer_than(version: int) -> Any:
    """A promotion request of a version after this one."""
    found = ml.open_store().list_requests(name=MODEL)
    return next((request for request in found if request.version > version), None)


def main() -> None:
    """Go round the loop once."""
    champion = champion_of_today()
    with tempfile.TemporaryDirectory() as log, running(sys.executable, __file__, "--train-on-drift"):
        made = until(deployment, "The deployment")
        try:
            traffic(log, YOUNG, seed=4)
            print("As in training:", detect_drift(MODEL, log=log)[0]["columns"])
            traffic(log, OLD, seed=5)
            print("Older customers:", detect_drift(MODEL, log=log)[0]["columns"])
            until(lambda: trained(made.id), "The training that the automation starts")
            request = newer_than(champion)
            print(f"Version {request.version} of {MODEL} asks for @{request.alias}: it is {request.status}.")
        finally:
            with get_client(sync_client=True) as client:
                client.delete_resource_owned_automations(f"prefect.deployment.{made.id}")
                client.delete_deployment(made.id)


if __name__ == "__main__":
    retrain_on_drift() if "--train-on-drift" in sys.argv else main()
