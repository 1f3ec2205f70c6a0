"""Small writes are done by the event loop itself; while another process writes, they wait, and nothing else does."""

from __future__ import annotations

import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

sys.path.append(str(Path(__file__).parents[1]))
from served import TrackingServer

API = "/api/2.0/mlflow/runs"


def test_a_write_waits_for_another_process_and_holds_up_nobody(tmp_path):
    with (
        TrackingServer(tmp_path) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        run_id = client.post(f"{API}/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]

        def log(step):
            point = {"run_id": run_id, "key": "loss", "value": step, "timestamp": 1, "step": step}
            return client.post(f"{API}/log-metric", json=point).status_code

        assert log(0) == 200
        other = sqlite3.connect(tmp_path / "server.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = [pool.submit(log, step) for step in (1, 2, 3)]
        for _ in range(20):
            assert client.get("/version").status_code == 200
            assert client.get(f"{API}/get", params={"run_id": run_id}).status_code == 200
        assert not any(future.done() for future in waiting)
        other.execute("COMMIT")
        other.close()
        assert [future.result(60) for future in waiting] == [200, 200, 200]
        assert log(4) == 200
        [latest] = client.get(f"{API}/get", params={"run_id": run_id}).json()["run"]["data"]["metrics"]
        assert latest["step"] == 4
