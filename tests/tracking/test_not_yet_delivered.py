"""A file that is logged before its run has reached the store."""

from __future__ import annotations

import prefect_ml
from prefect_ml.artifacts import open_artifacts


def test_a_file_waits_while_the_start_of_its_run_has_not_reached_the_store(monkeypatch):
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "0.000001")
    monkeypatch.setenv("PREFECT_ML_FLUSH_INTERVAL", "30")
    with prefect_ml.start_run() as run:
        prefect_ml.log_text("text", "notes.txt")
    monkeypatch.delenv("PREFECT_ML_FLUSH_TIMEOUT")
    assert prefect_ml.flush(30)
    stored = prefect_ml.open_store().get_run(run.run_id)
    assert open_artifacts(stored.artifact_uri).read("notes.txt") == b"text"
