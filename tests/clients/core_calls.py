"""What every release of MLflow's client calls, run in an interpreter that has the release; it prints what it read.

Usage: core_calls.py URL NAME, NAME being unused as an experiment's and a model's.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import mlflow  # noqa: E402  its warnings are none of ours
from mlflow.entities import Metric, Param, RunTag, ViewType  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402


def tracked(client, name):
    """A run by the fluent functions, and how it is found again."""
    mlflow.set_experiment(name)
    with mlflow.start_run(run_name="outer", tags={"team": "growth"}) as outer:
        mlflow.log_params({"depth": 3, "rate": 0.1})
        for step in range(3):
            mlflow.log_metric("auc", step / 4, step=step)
        mlflow.set_tag("stage", "trial")
        with mlflow.start_run(nested=True) as inner:
            mlflow.log_metrics({"auc": float("nan")})
    run_id = outer.info.run_id
    client.log_batch(run_id, [Metric("m", n, n, n) for n in range(500)], [Param("p", "1")], [RunTag("t", "2")])
    found = client.get_run(run_id)
    experiment = client.get_experiment_by_name(name).experiment_id
    searched = client.search_runs([experiment], "metrics.auc > 0.2 and tags.team = 'growth'", order_by=["metrics.m"])
    return {
        "params": found.data.params,
        "metrics": found.data.metrics,
        "team": found.data.tags["team"],
        "name": found.data.tags["mlflow.runName"],
        "status": found.info.status,
        "history": [[point.step, point.value] for point in client.get_metric_history(run_id, "auc")],
        "points": len(client.get_metric_history(run_id, "m")),
        "nan": str(client.get_run(inner.info.run_id).data.metrics["auc"]),
        "parent": client.get_run(inner.info.run_id).data.tags["mlflow.parentRunId"] == run_id,
        "searched": [each.info.run_id for each in searched] == [run_id],
        "frame": len(client.search_runs([experiment], max_results=1)),
    }


def stored(client):
    """Files, up and down again."""
    run_id = client.create_run("0").info.run_id
    client.log_text(run_id, "hello", "words/a b.txt")
    client.log_dict(run_id, {"a": 1}, "config.json")
    with tempfile.TemporaryDirectory() as folder:
        got = Path(client.download_artifacts(run_id, "words/a b.txt", folder)).read_text()
    listed = {each.path: [each.is_dir, each.file_size] for each in client.list_artifacts(run_id)}
    return {"got": got, "listed": listed, "inside": [each.path for each in client.list_artifacts(run_id, "words")]}


def deleted(client, name):
    """What happens to a deleted run and a deleted experiment."""
    experiment = client.create_experiment(name + " deleted", tags={"a": "1"})
    run_id = client.create_run(experiment).info.run_id
    client.delete_run(run_id)
    before = [each.info.run_id for each in client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)]
    client.restore_run(run_id)
    client.delete_experiment(experiment)
    stage = client.get_experiment(experiment).lifecycle_stage
    client.restore_experiment(experiment)
    client.rename_experiment(experiment, name + " renamed")
    client.set_experiment_tag(experiment, "b", "2")
    listed = client.search_experiments(filter_string=f"name = '{name} renamed'")
    return {"run": before == [run_id], "stage": stage, "listed": [each.tags for each in listed]}


def registered(client, name):
    """A model with versions, stages and aliases."""
    client.create_registered_model(name, tags={"team": "growth"}, description="who leaves")
    for _ in range(2):
        client.create_model_version(name, "s3://models/churn", tags={"a": "1"})
    client.transition_model_version_stage(name, "1", "Production")
    client.update_model_version(name, "1", description="first")
    client.set_model_version_tag(name, "2", "b", "2")
    aliased = None
    if hasattr(client, "set_registered_model_alias"):  # since 2.3
        client.set_registered_model_alias(name, "champion", "2")
        aliased = int(client.get_model_version_by_alias(name, "champion").version)
    found = client.get_registered_model(name)
    versions = client.search_model_versions(f"name='{name}'")
    latest = {each.current_stage: int(each.version) for each in client.get_latest_versions(name)}
    searched = [each.name for each in client.search_registered_models(f"name = '{name}'")]
    return {
        "description": found.description,
        "tags": found.tags,
        "versions": sorted(int(each.version) for each in versions),
        "latest": latest,
        "aliased": aliased,
        "searched": searched == [name],
        "uri": client.get_model_version_download_uri(name, "1"),
        "first": client.get_model_version(name, "1").description,
    }


def refused(client):
    """The codes of refusals, which callers branch on."""
    found = []
    for call in (
        lambda: client.get_run("0" * 32),
        lambda: client.create_experiment("Default"),
        lambda: client.search_runs(["0"], "nonsense ="),
    ):
        try:
            call()
        except MlflowException as error:
            found.append(error.error_code)
    return found


def main() -> None:
    url, name = sys.argv[1:]
    mlflow.set_tracking_uri(url)
    client = MlflowClient()
    found = {
        "version": mlflow.__version__,
        "tracked": tracked(client, name),
        "stored": stored(client),
        "deleted": deleted(client, name),
        "registered": registered(client, name),
        "refused": refused(client),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
