"""Runs with params and tags on both databases."""

from __future__ import annotations

import re

import pytest

from prefect_ml.entities import LifecycleStage, Metric, RunStatus
from prefect_ml.errors import (
    AlreadyExistsError,
    InactiveError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    ParamConflictError,
)


@pytest.fixture
def run_id(store):
    return store.create_run("0", name="first").run_id


def test_a_run_is_created_running_with_a_made_up_id_and_name(store):
    run = store.create_run("0")
    assert re.fullmatch(r"[0-9a-f]{32}", run.run_id)
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d{1,3}", run.name)
    assert run.status is RunStatus.RUNNING
    assert run.tags == {"mlflow.runName": run.name}
    assert run.artifact_uri.endswith(f"/artifacts/0/{run.run_id}/artifacts")
    assert run.end_time is None
    assert run == store.get_run(run.run_id)


def test_a_run_keeps_what_it_is_given(store):
    made = store.create_experiment("e")
    run = store.create_run(made, run_id="abc-1", name="n", user_id="ann", start_time=5, tags={"k": "v"})
    assert (run.run_id, run.experiment_id, run.name, run.user_id, run.start_time) == (
        "abc-1",
        made,
        "n",
        "ann",
        5,
    )
    assert run.tags == {"k": "v", "mlflow.runName": "n"}


def test_a_used_id_is_refused_and_nothing_changes(store, run_id):
    with pytest.raises(AlreadyExistsError, match=f"Run with id={run_id} already exists"):
        store.create_run("0", run_id=run_id, name="other", tags={"a": "b"})
    assert store.get_run(run_id).name == "first"
    assert "a" not in store.get_run(run_id).tags


@pytest.mark.parametrize("bad", ["", "..", "../x", "a/b", "a" * 65, ".hidden", "-x", "é", "a b"])
def test_a_run_id_that_is_no_folder_name_is_refused(store, bad):
    with pytest.raises(InvalidNameError):
        store.create_run("0", run_id=bad)


def test_name_and_name_tag_must_agree(store):
    with pytest.raises(InvalidInputError, match="specified, but with different values"):
        store.create_run("0", name="a", tags={"mlflow.runName": "b"})
    assert store.create_run("0", tags={"mlflow.runName": "b"}).name == "b"
    assert store.create_run("0", name="a", tags={"mlflow.runName": "a"}).name == "a"


def test_name_and_name_tag_are_mirrored_both_ways(store, run_id):
    assert store.update_run(run_id, name="second").tags["mlflow.runName"] == "second"
    store.log_batch(run_id, tags={"mlflow.runName": "third"})
    assert store.get_run(run_id).name == "third"
    assert store.update_run(run_id, status=RunStatus.FAILED).name == "third"


def test_update_changes_what_is_given_and_nothing_else(store, run_id):
    ended = store.update_run(run_id, status=RunStatus.FINISHED, end_time=99)
    assert (ended.status, ended.end_time) == (RunStatus.FINISHED, 99)
    again = store.update_run(run_id, name="x")
    assert (again.status, again.end_time, again.name) == (RunStatus.FINISHED, 99, "x")


@pytest.mark.parametrize("time", [2**63, -(2**63) - 1, 1.5, "1", True])
def test_a_time_that_is_no_64_bit_integer_is_refused(store, run_id, time):
    with pytest.raises(InvalidInputError):
        store.update_run(run_id, end_time=time)


def test_params_are_kept_and_never_change(store, run_id):
    store.log_batch(run_id, params={"c": "1.0", "empty": ""})
    store.log_batch(run_id, params={"c": "1.0", "d": "2"})
    with pytest.raises(ParamConflictError) as caught:
        store.log_batch(run_id, params={"c": "3"}, tags={"t": "1"}, metrics=[Metric("m", 1.0, 1, 1)])
    assert str(caught.value) == (
        "Changing param values is not allowed. Param with key='c' was already logged with value='1.0' "
        f"for run ID='{run_id}'. Attempted logging new value '3'."
    )
    run = store.get_run(run_id)
    assert run.params == {"c": "1.0", "d": "2", "empty": ""}
    assert "t" not in run.tags
    assert run.metrics == {}


def test_all_conflicts_of_a_batch_are_told_and_nothing_of_it_is_kept(store, run_id):
    store.log_batch(run_id, params={"c": "1", "d": "2"})
    with pytest.raises(ParamConflictError) as caught:
        store.log_batch(run_id, params={"new": "5", "d": "4", "c": "3"})
    assert str(caught.value).startswith(
        "Changing param values is not allowed. Params were already logged='[{'key': 'c', 'old_value': '1', "
        f"'new_value': '3'}}, {{'key': 'd', 'old_value': '2', 'new_value': '4'}}]' for run ID='{run_id}'. "
    )
    assert store.get_run(run_id).params == {"c": "1", "d": "2"}


def test_long_values_are_cut(store, run_id):
    store.log_batch(run_id, params={"p": "é" * 7000}, tags={"t": "é" * 9000})
    store.log_batch(run_id, params={"p": "é" * 6001})
    run = store.get_run(run_id)
    assert run.params["p"] == "é" * 6000
    assert run.tags["t"] == "é" * 8000


def test_tags_overwrite_and_can_be_deleted(store, run_id):
    store.log_batch(run_id, tags={"a": "1", "b": "2"})
    store.log_batch(run_id, tags={"a": "3"})
    store.delete_tag(run_id, "b")
    assert store.get_run(run_id).tags == {"a": "3", "mlflow.runName": "first"}
    with pytest.raises(NotFoundError, match="No tag with name: b"):
        store.delete_tag(run_id, "b")


BAD_KEYS = [
    "",
    "../x",
    "/abs",
    "a//b",
    "a/",
    "./a",
    "a/../b",
    ".",
    "..",
    "x" * 251,
    "a\nb",
    "a?b",
    "<b>",
    "a\x00",
    5,
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_bad_key_is_refused_everywhere_and_nothing_is_kept(store, run_id, key):
    for batch in ({"params": {"ok": "1", key: "1"}}, {"tags": {"ok": "1", key: "1"}}):
        with pytest.raises(InvalidInputError):
            store.log_batch(run_id, **batch)
    with pytest.raises(InvalidInputError):
        store.log_batch(run_id, metrics=[Metric("ok", 1.0, 1), Metric(key, 1.0, 1)])
    run = store.get_run(run_id)
    assert (run.params, run.metrics, set(run.tags)) == ({}, {}, {"mlflow.runName"})


@pytest.mark.parametrize("key", ["a", "a/b", "a.b", "a b", "a:b", "x" * 250, "größe", "a-b_c"])
def test_a_good_key_is_kept(store, run_id, key):
    store.log_batch(run_id, params={key: "1"}, tags={key: "2"}, metrics=[Metric(key, 3.0, 1)])
    run = store.get_run(run_id)
    assert (run.params[key], run.tags[key], run.metrics[key]) == ("1", "2", 3.0)


@pytest.mark.parametrize("value", [5, None, "a\x00b", "\udcff", b"x"])
def test_a_value_that_is_no_text_is_refused(store, run_id, value):
    for batch in ({"params": {"k": value}}, {"tags": {"k": value}}):
        with pytest.raises(InvalidInputError, match="'k'"):
            store.log_batch(run_id, **batch)


def test_a_deleted_run_takes_nothing_until_restored(store, run_id):
    store.delete_run(run_id)
    assert store.get_run(run_id).lifecycle_stage is LifecycleStage.DELETED
    for change in (
        lambda: store.log_batch(run_id, params={"a": "1"}),
        lambda: store.update_run(run_id, status=RunStatus.FINISHED),
        lambda: store.delete_tag(run_id, "mlflow.runName"),
    ):
        with pytest.raises(InactiveError, match=f"The run {run_id} must be in the 'active' state"):
            change()
    store.restore_run(run_id)
    store.log_batch(run_id, params={"a": "1"})
    assert store.get_run(run_id).params == {"a": "1"}


def test_an_unknown_run_is_not_found(store):
    for call in (
        lambda: store.get_run("nope"),
        lambda: store.log_batch("nope"),
        lambda: store.update_run("nope"),
        lambda: store.delete_run("nope"),
        lambda: store.get_metric_history("nope", "m"),
        lambda: store.sample_metric_history("nope", "m", 10),
    ):
        with pytest.raises(NotFoundError, match="Run with id=nope not found"):
            call()


def test_text_that_looks_like_sql_is_only_text(store, run_id):
    evil = "'); DROP TABLE runs; -- {run} %s :x ? {rows}"
    store.log_batch(run_id, params={"p": evil}, tags={"t": evil})
    run = store.get_run(run_id)
    assert (run.params["p"], run.tags["t"]) == (evil, evil)
