"""What a server loads: nothing that it does not need, so that it starts in a moment and is small."""

from __future__ import annotations

import re

import httpx
from hammering import API, new_runs

# Each would cost tens or hundreds of milliseconds and megabytes.
FORBIDDEN = {
    "boto3",
    "botocore",
    "cloudpickle",
    "keras",
    "lightgbm",
    "matplotlib",
    "mlflow",
    "numpy",
    "optuna",
    "pandas",
    "prefect",
    "psycopg",
    "pyarrow",
    "scipy",
    "skops",
    "sklearn",
    "torch",
    "xgboost",
    "IPython",
}
OWN = {
    "prefect_ml.api",
    "prefect_ml.flowruns",
    "prefect_ml.lineage",
    "prefect_ml.serving",
    "prefect_ml.sweeps",
    "prefect_ml.track",
    "prefect_ml.tracking",
}


def test_a_server_loads_nothing_that_it_does_not_need(start, monkeypatch):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    server = start()
    run_id = new_runs(server.url, 1)[0]
    point = {"run_id": run_id, "key": "loss", "value": 1.0, "timestamp": 1, "step": 1}
    assert httpx.post(f"{server.url}{API}/runs/log-metric", json=point).status_code == 200
    assert httpx.post(f"{server.url}{API}/runs/search", json={"experiment_ids": ["0"]}).status_code == 200
    assert httpx.get(f"{server.url}/metrics").status_code == 200
    assert server.stop() == 0
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", server.log(), re.MULTILINE))
    assert {"prefect_ml.server.run", "prefect_ml.store.database", "prometheus_client"} <= loaded
    assert loaded.isdisjoint(FORBIDDEN)
    assert loaded.isdisjoint(OWN)
