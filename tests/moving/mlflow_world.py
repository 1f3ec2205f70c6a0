"""Writes a small world with MLflow itself, and says what MLflow reads of it. Arguments: a database's URL, a folder."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, LoggedModelOutput

URL, FOLDER = sys.argv[1], Path(sys.argv[2])


def main() -> None:
    mlflow.set_tracking_uri(URL)
    client = MlflowClient()
    experiment = client.create_experiment("churn", f"file://{FOLDER}/churn", tags={"team": "growth"})
    empty = client.create_experiment("gone", f"file://{FOLDER}/gone")
    client.delete_experiment(empty)
    run_id, model_id = train(client, experiment)
    deleted = client.create_run(experiment, run_name="deleted")
    client.log_metric(deleted.info.run_id, "loss", 2.0, step=1)
    client.set_terminated(deleted.info.run_id, "FAILED")
    client.delete_run(deleted.info.run_id)
    register(client, run_id, model_id)
    trace(experiment)
    told = {"run": run_id, "deleted": deleted.info.run_id, "model": model_id, **seen(client, experiment)}
    sys.stdout.write(json.dumps(told))


def train(client: MlflowClient, experiment: str) -> tuple[str, str]:
    """A run with everything that a run can have."""
    with mlflow.start_run(experiment_id=experiment, run_name="first ü") as run:
        run_id = run.info.run_id
        mlflow.log_params({"depth": 3, "rate/a b": 0.1, "empty": ""})
        mlflow.set_tag("note", "hello\nworld")
        dataset = mlflow.data.from_numpy(np.zeros((3, 2)), name="three")
        mlflow.log_input(dataset, context="training")
        for step in range(3):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metric("odd", math.nan, step=-1)
        mlflow.log_metric("odd", math.inf, step=1)
        mlflow.log_text("hi", "plots/a b ü.txt")
        mlflow.log_text("", "empty.txt")
        model = mlflow.initialize_logged_model("net", source_run_id=run_id, params={"p": "1"}, tags={"t": "2"})
        mlflow.log_metric("acc", 0.5, step=1, model_id=model.model_id, dataset=dataset)
        mlflow.log_metric("acc", math.nan, step=2, model_id=model.model_id, dataset=dataset)
        weights = FOLDER / "weights.bin"
        weights.write_bytes(bytes(range(256)) * 8192)
        client.log_model_artifact(model.model_id, str(weights))
        mlflow.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 2)])
        client.log_inputs(run_id, models=[LoggedModelInput(model.model_id)])
    return run_id, model.model_id


def register(client: MlflowClient, run_id: str, model_id: str) -> None:
    """A model with a gap in its versions, a copy of it, and a prompt."""
    client.create_registered_model("churn", {"owner": "ml"}, "who leaves")
    artifacts = client.get_run(run_id).info.artifact_uri
    for number, source in enumerate([f"models:/{model_id}", f"{artifacts}/plots", f"{artifacts}/plots"], 1):
        client.create_model_version("churn", source, run_id, tags={"n": str(number)}, description=f"the {number}th")
    client.delete_model_version("churn", "2")
    client.set_registered_model_alias("churn", "champion", "1")
    client.transition_model_version_stage("churn", "3", "Production")
    client.copy_model_version("models:/churn/1", "copied")
    mlflow.register_prompt(name="ask", template="Say {{x}}")
    mlflow.register_prompt(name="ask", template="Tell {{x}}")


def trace(experiment: str) -> None:
    """A trace, which is not moved."""
    mlflow.set_experiment(experiment_id=experiment)
    with mlflow.start_span("asked") as span:
        span.set_inputs({"q": 1})
    mlflow.flush_trace_async_logging()
    for _ in range(50):
        if mlflow.search_traces(experiment_ids=[experiment], return_type="list"):
            return
        time.sleep(0.1)


def seen(client: MlflowClient, experiment: str) -> dict[str, object]:
    """What MLflow's own client reads."""
    runs = {}
    for run in client.search_runs([experiment], run_view_type=3):
        points = [
            [key, point.step, point.timestamp, "nan" if math.isnan(point.value) else point.value]
            for key in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, key)
        ]
        runs[run.info.run_id] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "stage": run.info.lifecycle_stage,
            "times": [run.info.start_time, run.info.end_time],
            "params": run.data.params,
            "tags": run.data.tags,
            "points": sorted(points, key=str),
            "inputs": [
                [each.dataset.name, each.dataset.digest, each.dataset.schema] for each in run.inputs.dataset_inputs
            ],
        }
    versions = [
        [each.name, int(each.version), each.current_stage, each.description or "", each.tags, each.creation_timestamp]
        for name in ("churn", "copied")
        for each in client.search_model_versions(f"name = '{name}'")
    ]
    return {"runs": runs, "versions": sorted(versions)}


main()
