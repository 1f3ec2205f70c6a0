"""Writes a small world with MLflow 2.0, whose tables differ. Arguments: the database's URL, a folder."""

from __future__ import annotations

import json
import math
import sys

from mlflow.tracking import MlflowClient

client = MlflowClient(sys.argv[1], sys.argv[1])
experiment = client.create_experiment("old", artifact_location=f"{sys.argv[2]}/art")
run_id = client.create_run(experiment, tags={"mlflow.runName": "ancient"}).info.run_id
client.log_param(run_id, "a", "1")
client.log_metric(run_id, "x", math.nan, step=3)
client.log_metric(run_id, "x", 0.5, step=1)
client.log_text(run_id, "hello", "notes/a.txt")
client.set_terminated(run_id)
client.create_registered_model("m", description="old")
for _ in range(2):
    client.create_model_version("m", f"{sys.argv[2]}/art/{run_id}/artifacts/notes", run_id)
client.delete_model_version("m", "1")
client.transition_model_version_stage("m", "2", "Staging")
sys.stdout.write(json.dumps({"run": run_id}))
