"""`log_input` end to end: what the run says afterwards, what is warned of, what survives a kill."""

from __future__ import annotations

import json
import logging

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import prefect_ml as ml
from prefect_ml.entities import Dataset, DatasetInput, Source
from prefect_ml.errors import InvalidInputError, NoActiveRunError
from prefect_ml.tracking import records
from prefect_ml.tracking.sync import sync_journals

CONTEXT = "mlflow.data.context"


def frame():
    return pd.DataFrame({"age": [1, 2, 3], "name": ["a", "b", None], "score": [0.5, None, 1.0]})


def recorded(data, *args, **kwargs):
    """The one input of a new run as the store gives it."""
    with ml.start_run("inputs") as run:
        returned = run.log_input(data, *args, **kwargs)
    [found] = ml.get_run(run.run_id).inputs
    assert found.dataset == returned
    return found


def test_a_frame_with_a_source():
    found = recorded(frame(), source="s3://key:secret@bucket/churn.parquet?token=x#y", tags={"fold": 1})
    dataset = found.dataset
    assert found.tags == {CONTEXT: "training", "fold": "1"}
    assert (dataset.name, dataset.source_type) == ("churn", "s3")
    assert json.loads(dataset.source) == {"uri": "s3://bucket/churn.parquet"}
    assert json.loads(dataset.schema) == {
        "mlflow_colspec": [
            {"type": "long", "name": "age", "required": True},
            {"type": "string", "name": "name", "required": False},
            {"type": "double", "name": "score", "required": False},
        ]
    }
    profile = json.loads(dataset.profile)
    assert profile.pop("num_bytes") > 0
    assert profile == {"num_rows": 3, "num_columns": 3, "num_elements": 9}
    assert len(dataset.digest) == 32


def test_a_frame_that_this_program_made():
    dataset = recorded(frame(), context=None).dataset
    assert (dataset.name, dataset.source_type) == ("pandas", "code")
    assert set(json.loads(dataset.source)["tags"]) == {"mlflow.source.name", "mlflow.source.type"}


@pytest.mark.parametrize(
    ("data", "name", "rows"),
    [
        (pl.DataFrame({"a": [1]}), "polars", 1),
        (pl.DataFrame({"a": [1]}).lazy(), "polars", None),
        (pl.Series("a", [1, 2]), "polars", 2),
        (pd.Series([1, 2, 3]), "pandas", 3),
        (pa.table({"a": [1]}), "arrow", 1),
        (pa.array([1, 2]), "arrow", 2),
        (pa.chunked_array([[1], [2]]), "arrow", 2),
        (pa.record_batch({"a": [1]}), "arrow", 1),
        (np.zeros((5, 2)), "numpy", 5),
        ((np.zeros((5, 2)), np.zeros(5)), "numpy", 5),
        ({"x": np.zeros((5, 2)), "m": np.zeros(5, dtype=bool)}, "numpy", 5),
        ((pd.DataFrame({"a": [1]}), pd.Series([0])), "pandas", 1),
        ((pd.DataFrame({"a": [1]}), np.zeros(2)), "parts", None),
    ],
)
def test_each_kind_has_a_name_a_digest_and_a_row_count(data, name, rows, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = recorded(data).dataset
    assert (dataset.name, json.loads(dataset.profile).get("num_rows")) == (name, rows)
    assert len(dataset.digest) == 32
    assert not caplog.records


def test_mlflow_reads_the_schemas():
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.types.schema import Schema

    frames = [
        frame(),
        pd.DataFrame({"o": [{1}, 2], "t": pd.to_datetime(["2020", "2021"]), "c": pd.Categorical(["a", "b"])}),
        pl.DataFrame({"l": [[1]], "s": [{"a": 1}], "d": [None]}),
        pa.table({"b": [b"x"], "l": [[1.5]], "d": pa.array(["a"]).dictionary_encode()}),
    ]
    for each in frames:
        columns = json.loads(recorded(each).dataset.schema)["mlflow_colspec"]
        assert Schema.from_json(json.dumps(columns)).input_names() == [str(name) for name in pl_names(each)]
    arrays = [np.zeros((2, 3)), np.array(["a"]), {"x": np.zeros(2), "y": np.zeros((2, 2), "i4")}, (np.zeros(2),) * 2]
    for array in arrays:
        assert TensorDatasetSchema.from_dict(json.loads(recorded(array).dataset.schema)).features.inputs


def pl_names(data):
    return data.schema.names if isinstance(data, pa.Table) else list(data.columns)


def test_mlflow_takes_what_is_recorded(tmp_path):
    """The facts go into MLflow's own store and come back the same."""
    import mlflow
    from mlflow.entities import Dataset as Theirs
    from mlflow.entities import DatasetInput as Used
    from mlflow.entities import InputTag

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run = client.create_run("0")
    given = [recorded(each) for each in (frame(), np.zeros((2, 2)), tmp_path)]
    for each in given:
        of = each.dataset
        theirs = Theirs(of.name, of.digest, of.source_type, of.source, of.schema, of.profile)
        client.log_inputs(run.info.run_id, [Used(theirs, [InputTag(k, v) for k, v in each.tags.items()])])
    back = client.get_run(run.info.run_id).inputs.dataset_inputs
    fields = ("name", "digest", "source_type", "source", "schema", "profile")
    assert {tuple(getattr(each.dataset, field) or "" for field in fields) for each in back} == {
        tuple(getattr(each.dataset, field) for field in fields) for each in given
    }


def test_a_dataset_of_ones_own():
    own = Dataset("orders", "v17", "snowflake", '{"table": "ORDERS"}', "", '{"num_rows": 5}')
    assert recorded(own, context="evaluation") == DatasetInput(own, {CONTEXT: "evaluation"})
    moved = recorded(own, "renamed", source="https://me:pw@host/orders.csv?sig=1").dataset
    assert (moved.name, moved.digest) == ("renamed", "v17")
    assert (moved.source_type, moved.source) == ("http", '{"url":"https://host/orders.csv"}')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": 5}, "name of a data set is text, not int"),
        ({"source": 5}, "source of a data set is a path or URL, not int"),
        ({"name": "n" * 501, "data": Dataset("a", "b", "c", "{}")}, "at most 500 characters"),
        ({"data": Dataset("a", "", "c", "{}")}, "digest of a data set is empty"),
        ({"tags": {"k" * 256: 1}}, "1 to 255 characters"),
        ({"tags": [1]}, "take a mapping"),
        ({"name": "a\x00b"}, "NUL character"),
    ],
)
def test_what_cannot_be_meant_is_raised(arguments, message):
    with ml.start_run("inputs") as run:
        with pytest.raises(InvalidInputError, match=message):
            ml.log_input(**{"data": frame(), **arguments})
        run.log_metric("alive", 1)
    assert list(ml.get_run(run.run_id).inputs) == []


def test_outside_of_a_run():
    with pytest.raises(NoActiveRunError, match="no run to record in"):
        ml.log_input(frame())


class Broken(pd.DataFrame):
    @property
    def dtypes(self):
        raise RuntimeError("no types today")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (object(), "object is no data set that is known here"),
        ([], "list is no data set that is known here"),
        ([1, 2], "int is no array or table"),
        (None, "NoneType is no data set"),
        ("/no/such/file.csv", "There is no file or folder '/no/such/file.csv'"),
        (Broken({"a": [1]}), "no types today"),
        (np.float64(3), "float64 is no array of numpy"),
    ],
)
def test_data_that_cannot_be_read_is_one_warning_and_recorded_by_what_is_known(data, message, caplog):
    with caplog.at_level(logging.WARNING):
        found = recorded(data, "churn", source=None)
    [warning] = caplog.records
    assert message in warning.getMessage()
    assert (found.dataset.name, found.dataset.schema, found.dataset.profile) == ("churn", "", "{}")
    assert found.dataset.digest


def test_the_same_again_is_one_input():
    with ml.start_run("inputs") as run:
        for _ in range(3):
            ml.log_input(frame(), "churn")
        ml.log_input(frame(), "churn", context="evaluation")
        ml.log_input(frame().assign(age=[1, 2, 4]), "churn")
    found = ml.get_run(run.run_id).inputs
    assert sorted(each.tags[CONTEXT] for each in found) == ["evaluation", "training"]
    assert {each.dataset.name for each in found} == {"churn"}


def test_runs_are_found_by_what_they_used():
    data = frame()
    with ml.start_run("inputs") as run:
        digest = ml.log_input(data, "churn").digest
    with ml.start_run("inputs"):
        ml.log_input(data, "other")
    for text in ("dataset.name = 'churn'", f"datasets.name LIKE 'ch%' AND datasets.digest = '{digest}'"):
        assert [each.run_id for each in ml.search_runs("inputs", text)] == [run.run_id]
    assert len(ml.search_runs("inputs", "dataset.context = 'training'")) == 2


@pytest.mark.parametrize(("columns", "told"), [(9000, True), (12_000, False)])
def test_a_very_wide_schema_arrives_or_is_left_out_and_counted(columns, told):
    data = pd.DataFrame(np.zeros((2, columns)), columns=[f"a rather long name of a column {n}" for n in range(columns)])
    dataset = recorded(data).dataset
    assert (len(dataset.schema) > 500_000, json.loads(dataset.profile)["num_columns"]) == (told, columns)


def test_a_dict_of_arrays_with_endless_names():
    dataset = recorded({"x" * 2_000_000: np.zeros(2), "y": np.zeros(2)}).dataset
    assert (dataset.schema, json.loads(dataset.profile)["parts"]) == ("", ["x" * 100, "y"])


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(st.lists(st.builds(DatasetInput, st.builds(Dataset, *[TEXTS] * 6), st.dictionaries(TEXTS, TEXTS, max_size=2))))
def test_records_of_a_journal_say_what_was_recorded(given_inputs):
    task = Source("a", 1, 5, "fit:1", 0, "t")
    lines = [records.source_record(1, task), *(records.input_record(each, 1) for each in given_inputs)]
    batches = records.batches("r", lines)
    assert [each for batch in batches for each in batch.inputs] == given_inputs
    names = list(dict.fromkeys(each.dataset.name for each in given_inputs))
    assert [each.names for batch in batches for each in batch.recorded] == [{"input": names}] * bool(names)


def test_killed_right_after_the_call_it_is_in_the_store_after_sync(start):
    script = """
import os, signal
import pandas as pd
import prefect_ml as ml
with ml.start_run("killed") as run:
    dataset = run.log_input(pd.DataFrame({"a": range(1000)}), "churn", tags={"fold": 2})
    os.write(1, f"{run.run_id} {dataset.digest}".encode())
    os.kill(os.getpid(), signal.SIGKILL)
"""
    process = start(script)
    process.wait()
    run_id, digest = process.stdout.read().split()
    assert process.returncode == -9
    sync_journals(ml.open_store())
    [found] = ml.get_run(run_id).inputs
    assert (found.dataset.name, found.dataset.digest) == ("churn", digest)
    assert found.tags == {CONTEXT: "training", "fold": "2"}
    assert sync_journals(ml.open_store()) == []


def test_many_threads_and_the_order_of_their_calls():
    from concurrent.futures import ThreadPoolExecutor

    with ml.start_run("inputs") as run, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: run.log_input(pd.DataFrame({"a": [n]}), f"part-{n}"), range(64)))
    assert {each.dataset.name for each in ml.get_run(run.run_id).inputs} == {f"part-{n}" for n in range(64)}


def test_no_library_is_imported_for_another_ones_data(start):
    script = """
import os, sys
import numpy as np
import prefect_ml as ml
with ml.start_run("lean") as run:
    run.log_input(np.zeros(3))
    run.log_input(os.getcwd())
    run.log_input("s3://bucket/x.parquet")
    print(*[name in sys.modules for name in ("pandas", "polars", "pyarrow")])
"""
    process = start(script)
    assert process.stdout.read().split() == ["False"] * 3, process.stderr.read()
