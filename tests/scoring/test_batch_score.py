"""Scoring of whole data sets, as flows on a real Prefect API."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

import prefect_ml as ml
from prefect_ml.cli import app
from prefect_ml.entities import RunStatus
from prefect_ml.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from prefect_ml.flows.batch_score import batch_score
from prefect_ml.scoring.parts import ChunkError
from prefect_ml.scoring.places import open_files

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
from customers import ROWS, expected, rows_of

from bucket import NAME, Bucket
from orchestrator import until

SCRIPT = Path(__file__).parent / "scoring_script.py"
pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def given(model_folder, parquet_folder, tmp_path):
    return {"model_uri": str(model_folder), "input": str(parquet_folder), "output": str(tmp_path / "scores")}


def scores_at(folder):
    """What a reader of Parquet folders finds."""
    return pq.read_table(folder).to_pandas()


def written(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}


def test_a_folder_of_parquet_is_scored_once_in_order_and_recorded(model_folder, parquet_folder, tmp_path):
    output = tmp_path / "scores"
    manifest = batch_score(str(model_folder), str(parquet_folder), str(output), rows_per_chunk=200, keep=["id"])
    frame = rows_of(ROWS)
    found = scores_at(output)
    assert list(found.columns) == ["id", "prediction"]
    assert found["id"].tolist() == frame["id"].tolist()
    np.testing.assert_allclose(found["prediction"], expected(frame))
    assert json.loads((output / "_manifest.json").read_bytes()) == manifest
    assert manifest["rows"] == ROWS
    assert manifest["quarantined"] == 0
    assert [each["rows"] for each in manifest["inputs"]] == [600, 400]
    assert all(each["digest"].startswith("sha256:") for each in manifest["inputs"])
    assert sum(part["rows"] for part in manifest["parts"]) == ROWS
    assert max(part["rows"] for part in manifest["parts"]) <= 200

    run = ml.get_run(manifest["run_id"])
    assert run.status is RunStatus.FINISHED
    assert run.metrics["rows"] == ROWS
    assert run.metrics["seconds"] > 0
    [used] = run.inputs
    assert json.loads(used.dataset.source) == {"uri": str(parquet_folder)}
    assert used.tags["mlflow.data.context"] == "scoring"
    [noted] = [value for key, value in run.tags.items() if key.startswith("prefect_ml.model_input.")]
    assert json.loads(noted)["uri"] == str(model_folder)
    with get_client(sync_client=True) as client:
        query = {"artifacts": {"flow_run_id": {"any_": [run.tags["prefect_ml.flow_run_id"]]}}}
        artifacts = client.request("POST", "/artifacts/filter", json=query).json()
    shown = {each["key"]: each for each in artifacts}
    assert shown["batch-score-progress"]["data"] == 100.0
    assert manifest["model"]["digest"] in shown["batch-score"]["data"]
    assert len(json.loads(shown["batch-score-parts"]["data"])) == len(manifest["parts"])


def test_what_is_done_is_not_done_again(model_folder, parquet_folder, tmp_path):
    output = tmp_path / "scores"
    given = (str(model_folder), str(parquet_folder), str(output))
    first = batch_score(*given, rows_per_chunk=200)
    whole, before = scores_at(output), written(output)
    (output / "part-000002.parquet").unlink()
    (output / "part-000003.parquet").write_bytes((output / "part-000003.parquet").read_bytes()[:-3])
    # As a scoring that was killed leaves it.
    (output / "_manifest.json").unlink()
    second = batch_score(*given, rows_per_chunk=200)
    after = written(output)
    assert {name for name in before if before[name] != after[name]} == {"part-000002.parquet", "part-000003.parquet"}
    pd.testing.assert_frame_equal(scores_at(output), whole)
    assert {**first, "run_id": "", "finished": ""} == {**second, "run_id": "", "finished": ""}
    assert ml.get_run(second["run_id"]).metrics["parts_kept"] == len(before) - 2

    # Another row in one file: its parts alone are scored again, and nobody overwrites what is finished by accident.
    frame = rows_of(500, 600)
    frame.to_parquet(parquet_folder / "b.parquet", row_group_size=90)
    with pytest.raises(AlreadyExistsError, match="allow to overwrite"):
        batch_score(*given, rows_per_chunk=200)
    batch_score(*given, rows_per_chunk=200, overwrite=True)
    again = written(output)
    assert {name for name in after if after[name] == again[name]} == {f"part-{n:06d}.parquet" for n in range(4)}
    assert scores_at(output)["id"].tolist() == rows_of(1100)["id"].tolist()

    # With larger chunks there are fewer parts: none of the smaller ones stays.
    batch_score(*given, rows_per_chunk=600, overwrite=True)
    assert len(written(output)) == 2
    np.testing.assert_allclose(scores_at(output)["prediction"], expected(rows_of(1100)))


def test_a_folder_with_something_else_in_it_is_left_alone(model_folder, parquet_folder, tmp_path):
    output = tmp_path / "scores"
    output.mkdir()
    (output / "mine.parquet").write_bytes(b"")
    with pytest.raises(AlreadyExistsError, match=r"mine\.parquet"):
        batch_score(str(model_folder), str(parquet_folder), str(output), overwrite=True)
    with pytest.raises(AlreadyExistsError, match=r"a\.parquet"):
        batch_score(str(model_folder), str(parquet_folder), str(parquet_folder))
    assert [path.name for path in output.iterdir()] == ["mine.parquet"]
    inside = parquet_folder / "scores"
    batch_score(str(model_folder), str(parquet_folder / "a.parquet"), str(inside))
    with pytest.raises(InvalidInputError, match="lies in the output"):
        batch_score(str(model_folder), str(parquet_folder), str(inside))


def test_rows_of_a_csv_that_cannot_be_scored_are_named_or_set_aside(model_folder, tmp_path):
    table = tmp_path / "customers.csv"
    frame = rows_of(300).astype("object")
    frame.loc[120, "age"] = "old"
    frame.loc[250, "size"] = None
    frame.loc[7, "id"] = "007"
    frame.to_csv(table, index=False)
    given = {"model_uri": str(model_folder), "input": str(table), "rows_per_chunk": 100}
    with pytest.raises(ChunkError, match=r"rows 100 to 199 of .*customers\.csv.*row 120: .*'age'.*'old'"):
        batch_score(**given, output=str(tmp_path / "failed"))
    assert not (tmp_path / "failed" / "_manifest.json").exists()

    output = tmp_path / "scores"
    manifest = batch_score(**given, output=str(output), on_bad_rows="quarantine", keep=["id"])
    assert (manifest["rows"], manifest["quarantined"]) == (298, 2)
    good = rows_of(300).drop(index=[120, 250])
    found = scores_at(output)
    assert found["id"].tolist() == good["id"].replace("c00007", "007").tolist()
    np.testing.assert_allclose(found["prediction"], expected(good))
    aside = scores_at(output / "_quarantine")
    assert aside["_row"].tolist() == [120, 250]
    assert set(aside["_file"]) == {str(table)}
    assert "'age'" in aside["_reason"][0]
    assert "NaN" in aside["_reason"][1]
    assert not (output / "_staged").exists()


def test_the_rows_of_a_query_are_scored_and_the_url_of_its_database_stays_secret(model_folder, tmp_path, monkeypatch):
    database = tmp_path / "warehouse.db"
    with sqlite3.connect(database) as connection:
        rows_of(250).to_sql("customers", connection, index=False)
    connection.close()
    url = f"sqlite:///{database}"
    query = "SELECT id, size, age, NULL AS note FROM customers WHERE id LIKE 'c00%' AND ':x' <> 'y' ORDER BY id"
    monkeypatch.setenv("WAREHOUSE_URL", url)
    given = {"model_uri": str(model_folder), "input": query, "rows_per_chunk": 100}
    manifest = batch_score(**given, output=str(tmp_path / "a"), database="env:WAREHOUSE_URL")
    assert manifest["rows"] == 250
    np.testing.assert_allclose(scores_at(tmp_path / "a")["prediction"], expected(rows_of(250)))
    assert scores_at(tmp_path / "a")["id"].tolist() == rows_of(250)["id"].tolist()

    Secret(value=url).save("warehouse", overwrite=True)
    parts = written(tmp_path / "a")
    again = batch_score(**given, output=str(tmp_path / "a"), database="warehouse")
    assert written(tmp_path / "a") == parts
    run = ml.get_run(again["run_id"])
    assert [each.dataset.source_type for each in run.inputs] == ["sql"]
    assert str(database) not in str(run)
    with pytest.raises(InvalidInputError, match="no URL of a database"):
        batch_score(**given, output=str(tmp_path / "b"), database=url)
    with pytest.raises(InvalidInputError, match="refuses the query: no such table"):
        batch_score(
            str(model_folder), "SELECT * FROM nowhere_at_all", str(tmp_path / "c"), database="env:WAREHOUSE_URL"
        )


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"input": "nowhere/*.parquet"}, NotFoundError, "no Parquet or CSV file"),
        ({"input": "s3://key:secret@bucket/a.parquet"}, InvalidInputError, "credentials in it"),
        ({"input": "SELECT 1"}, InvalidInputError, "needs the database"),
        ({"keep": ["nothing"]}, InvalidInputError, "no column 'nothing' to keep"),
        ({"rows_per_chunk": 0}, InvalidInputError, "1 to 10000000 rows"),
        ({"task_runner": "cluster"}, InvalidInputError, "task runner is"),
        ({"model_uri": "models:/nobody/1"}, NotFoundError, "nobody"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(changed, error, message, given):
    with pytest.raises(error, match=message):
        batch_score(**given | changed)
    assert not list(Path(given["output"]).glob("part*"))


def test_a_column_that_the_model_takes_and_that_is_missing_is_named(model_folder, tmp_path):
    rows_of(10).drop(columns="age").to_parquet(tmp_path / "narrow.parquet")
    with pytest.raises(InvalidInputError, match=r"takes 'age', which the data lack; they have 'id', 'size'"):
        batch_score(str(model_folder), str(tmp_path / "narrow.parquet"), str(tmp_path / "scores"))


def test_chunks_are_scored_in_a_process_which_loads_a_registered_model(model_folder, parquet_folder, tmp_path):
    ml.register_model(str(model_folder), "linear")
    manifest = batch_score(
        "models:/linear/1", str(parquet_folder), str(tmp_path / "scores"), rows_per_chunk=300,
        task_runner="processes", parallel=1,
    )  # fmt: skip
    assert (manifest["model"]["name"], manifest["model"]["version"]) == ("linear", 1)
    np.testing.assert_allclose(scores_at(tmp_path / "scores")["prediction"], expected(rows_of(ROWS)))


@pytest.mark.long
@pytest.mark.parametrize("runner", ["processes", "dask", "ray"])
def test_chunks_are_scored_in_several_processes(runner, model_folder, parquet_folder, tmp_path):
    manifest = batch_score(
        str(model_folder), str(parquet_folder), str(tmp_path / "scores"), rows_per_chunk=300,
        task_runner=runner, parallel=2,
    )  # fmt: skip
    assert manifest["rows"] == ROWS
    np.testing.assert_allclose(scores_at(tmp_path / "scores")["prediction"], expected(rows_of(ROWS)))


def test_data_in_a_bucket_are_scored_into_a_bucket(model_folder, parquet_folder, monkeypatch):
    with Bucket() as bucket:
        for name, value in bucket.environment.items():
            monkeypatch.setenv(name, value)
        for path in parquet_folder.iterdir():
            bucket.client.upload_file(str(path), NAME, f"in/2026/{path.name}")
        given = (str(model_folder), f"s3://{NAME}/in/**/*.parquet", f"s3://{NAME}/out")
        manifest = batch_score(*given, rows_per_chunk=400)
        assert [each["name"] for each in manifest["inputs"]] == [
            f"s3://{NAME}/in/2026/{name}.parquet" for name in ("a", "b")
        ]
        again = batch_score(*given, rows_per_chunk=400)
        assert ml.get_run(again["run_id"]).metrics["parts_kept"] == len(manifest["parts"])
        system, root = open_files(f"s3://{NAME}/out")
        found = [pq.read_table(f"{root}/{part['name']}", filesystem=system) for part in manifest["parts"]]
    ids = [value for table in found for value in table.column("id").to_pylist()]
    assert ids == rows_of(ROWS)["id"].tolist()


def test_the_command_scores_and_says_what_is_wrong(given, capsys):
    main = ["batch-score", given["model_uri"], given["input"], given["output"]]
    app([*main, "--keep", "id", "--rows-per-chunk", "500", "--json"], exit_on_error=False, result_action="return_value")
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"] == ROWS
    assert printed["options"]["keep"] == ["id"]
    with pytest.raises(NotFoundError, match="no Parquet or CSV"):
        app(["batch-score", given["model_uri"], "nowhere", given["output"]], exit_on_error=False)


def start(model, input, output, rows_per_chunk, runner="threads"):
    """A scoring in a process of its own, on the same Prefect API; it prints its peak memory in KiB."""
    command = [sys.executable, SCRIPT, model, input, output, str(rows_per_chunk), runner]
    # What the fixture set for this process, for that one.
    inherited = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}
    log = Path(output).with_suffix(".log")
    with log.open("wb") as written_to:
        return subprocess.Popen(command, env=inherited, stdout=written_to, stderr=subprocess.STDOUT)


def test_a_scoring_that_was_killed_goes_on_and_comes_to_the_same(model_folder, parquet_folder, tmp_path):
    output = tmp_path / "scores"
    given = (str(model_folder), str(parquet_folder), str(output))
    with start(*given, 10) as process:
        try:
            until(lambda: len(written(output)) > 4 or process.poll() is not None, "some parts")
        finally:
            process.kill()
    before = written(output)
    assert 4 < len(before) < 100
    assert not (output / "_manifest.json").exists()
    manifest = batch_score(*given, rows_per_chunk=10)
    after = written(output)
    assert len(after) == 100
    assert before.items() <= after.items()
    found = scores_at(output)
    assert found["id"].tolist() == rows_of(ROWS)["id"].tolist()
    np.testing.assert_allclose(found["prediction"], expected(rows_of(ROWS)))
    assert manifest["rows"] == ROWS


@pytest.mark.long
def test_memory_does_not_grow_with_the_data(model_folder, tmp_path):
    peaks, started = {}, {}
    for times in (1, 8):
        data = tmp_path / f"{times}.parquet"
        wide = rows_of(50_000 * times).assign(**{f"more_{n}": n * 0.5 for n in range(20)})
        wide.to_parquet(data, row_group_size=10_000)
        started[times] = start(str(model_folder), str(data), str(tmp_path / f"scores-{times}"), 10_000)
    ended = {times: process.wait(200) for times, process in started.items()}
    for times, code in ended.items():
        printed = (tmp_path / f"scores-{times}.log").read_text()
        assert code == 0, printed
        peaks[times] = int(printed.splitlines()[-1])
    # Of the rest of the data, the tables that are read and those that are written are 140 MB.
    assert peaks[8] < peaks[1] + 40 * 1024, peaks


@pytest.mark.long
def test_a_scoring_whose_worker_was_killed_says_so_and_goes_on(model_folder, parquet_folder, tmp_path):
    output = tmp_path / "scores"
    given = (str(model_folder), str(parquet_folder), str(output))
    process = start(*given, 10, "processes")
    try:
        until(lambda: len(written(output)) > 4 or process.poll() is not None, "some parts")
        workers = [each for each in psutil.Process(process.pid).children() if "spawn_main" in " ".join(each.cmdline())]
        workers[0].kill()
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait(10)
    assert "A process of the pool died" in output.with_suffix(".log").read_text()
    assert len(written(output)) < 100
    batch_score(*given, rows_per_chunk=10)
    assert scores_at(output)["id"].tolist() == rows_of(ROWS)["id"].tolist()
