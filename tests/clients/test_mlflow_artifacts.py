"""Files by MLflow's client, through the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

# What matplotlib and pandas say of themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def listed(client, run_id, path=None):
    return {each.path: each.file_size for each in client.list_artifacts(run_id, path)}


def test_what_is_logged_as_text_table_picture_or_file_is_there(mlflow, client, experiment, tmp_path):
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("one")
    (tmp_path / "notes" / "deeper").mkdir()
    (tmp_path / "notes" / "deeper" / "b é 100%.txt").write_text("two")
    figure = Figure()
    figure.subplots().plot([1, 2])
    with mlflow.start_run() as run:
        assert mlflow.get_artifact_uri() == run.info.artifact_uri
        mlflow.log_text("grüße", "words/hello.txt")
        mlflow.log_dict({"a": [1, 2]}, "config.json")
        mlflow.log_dict({"a": 1}, "config.yaml")
        mlflow.log_figure(figure, "plot.png")
        mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), "image.png")
        mlflow.log_table(pd.DataFrame({"x": [1, 2]}), "table.json")
        mlflow.log_table(pd.DataFrame({"x": [3]}), "table.json")
        mlflow.log_artifact(str(tmp_path / "notes" / "a.txt"), "copied")
        mlflow.log_artifacts(str(tmp_path / "notes"), "notes")
    run_id, uri = run.info.run_id, run.info.artifact_uri
    assert set(listed(client, run_id)) == {
        "words",
        "config.json",
        "config.yaml",
        "plot.png",
        "image.png",
        "table.json",
        "copied",
        "notes",
    }
    assert listed(client, run_id, "notes") == {"notes/a.txt": 3, "notes/deeper": None}
    assert listed(client, run_id, "notes/deeper") == {"notes/deeper/b é 100%.txt": 3}
    assert listed(client, run_id, "notes/nothing") == {}
    assert mlflow.artifacts.load_text(f"{uri}/words/hello.txt") == "grüße"
    assert mlflow.artifacts.load_dict(f"{uri}/config.json") == {"a": [1, 2]}
    assert mlflow.artifacts.load_image(f"{uri}/image.png").size == (4, 4)
    assert list(mlflow.load_table("table.json", run_ids=[run_id])["x"]) == [1, 2, 3]
    back = tmp_path / "back"
    mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="notes", dst_path=str(back))
    files = {str(each.relative_to(back)) for each in back.rglob("*.txt")}
    assert files == {"notes/a.txt", "notes/deeper/b é 100%.txt"}
    assert json.loads(client.get_run(run_id).data.tags["mlflow.loggedArtifacts"])[0]["path"] == "table.json"


def test_a_file_goes_and_comes_back_byte_by_byte(mlflow, client, experiment, tmp_path):
    content = os.urandom(9_000_001)
    (tmp_path / "large.bin").write_bytes(content)
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(tmp_path / "large.bin"))
    assert listed(client, run.info.run_id) == {"large.bin": len(content)}
    got = client.download_artifacts(run.info.run_id, "large.bin", str(tmp_path))
    assert Path(got).read_bytes() == content
    with pytest.raises(mlflow.MlflowException, match="ensure that the path is correct"):
        client.download_artifacts(run.info.run_id, "nothing.bin", str(tmp_path))


def test_many_files_are_sent_at_once(mlflow, client, experiment, tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(str(number))
    with mlflow.start_run() as run:
        threads = [
            threading.Thread(target=client.log_text, args=(run.info.run_id, "x" * n, f"mine/{n}.txt"))
            for n in range(1, 11)
        ]
        for thread in threads:
            thread.start()
        mlflow.log_artifacts(str(tmp_path), "all")
        for thread in threads:
            thread.join()
    assert listed(client, run.info.run_id, "all") == {f"all/{n}.txt": len(str(n)) for n in range(40)}
    assert listed(client, run.info.run_id, "mine") == {f"mine/{n}.txt": n for n in range(1, 11)}


def test_a_path_that_leaves_the_run_is_refused(mlflow, client, experiment):
    with mlflow.start_run() as run:
        pass
    for path in ("../other", "/etc", "a/../../b"):
        with pytest.raises(requests.HTTPError, match="400 Client Error"):
            client.list_artifacts(run.info.run_id, path)


def test_the_command_that_java_and_r_call_downloads(mlflow, server, client_environment, experiment, tmp_path):
    with mlflow.start_run() as run:
        mlflow.log_text("hello", "words/a b.txt")
    command = [sys.executable, "-W", "ignore", "-m", "mlflow.store.artifact.cli", "download"]
    done = subprocess.run(
        [*command, "--run-id", run.info.run_id, "--artifact-path", "words", "--dst-path", str(tmp_path)],
        env={**client_environment, "MLFLOW_TRACKING_URI": server.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "words" / "a b.txt").read_text() == "hello"
