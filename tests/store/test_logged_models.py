"""Logged models: made, finalized, tagged, measured and deleted."""

from __future__ import annotations

import math
import re

import pytest

from prefect_ml.entities import LoggedModelStatus, Metric, ModelMetric
from prefect_ml.errors import (
    AlreadyExistsError,
    InactiveError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    ParamConflictError,
)

GONE = r"Logged model with ID 'm-gone' not found\."


@pytest.fixture
def run(store):
    return store.create_run("0").run_id


@pytest.fixture
def model(store, run):
    return store.create_logged_model("0", name="churn", source_run_id=run).model_id


def point(model_id, value, step=0, timestamp=0, *, key="auc", dataset="", digest=""):
    return ModelMetric(model_id, Metric(key, value, timestamp, step), dataset, digest)


def test_one_is_made_pending_with_a_made_up_id_and_name(store):
    experiment = store.create_experiment("e")
    made = store.create_logged_model(experiment)
    assert re.fullmatch(r"m-[0-9a-f]{32}", made.model_id)
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d{1,3}", made.name)
    assert (made.status, made.experiment_id) == (LoggedModelStatus.PENDING, experiment)
    assert made.creation_timestamp == made.last_updated_timestamp > 1_700_000_000_000
    root = store.get_experiment(experiment).artifact_location
    assert made.artifact_uri == f"{root}/models/{made.model_id}/artifacts"
    assert store.get_logged_model(made.model_id) == made


def test_what_is_given_is_kept(store, run):
    made = store.create_logged_model(
        "0",
        model_id="m-own",
        name="my model",
        model_type="agent",
        source_run_id=run,
        params={"depth": "3", "p$": ""},
        tags={"team": "risk", "no key of a run's tag: %": "x" * 9000},
    )
    assert (made.model_id, made.name, made.model_type, made.source_run_id) == ("m-own", "my model", "agent", run)
    assert made.params == {"depth": "3", "p$": ""}
    assert made.tags == {"team": "risk", "no key of a run's tag: %": "x" * 9000}
    with pytest.raises(AlreadyExistsError, match="ID 'm-own' already exists"):
        store.create_logged_model("0", model_id="m-own")


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "50%", 'a"b', "my'model", " ", "n\x00", "n" * 501])
def test_a_name_that_could_not_be_in_a_uri_is_refused(store, name):
    with pytest.raises(InvalidInputError, match=r"Invalid model name|NUL|at most 500 characters"):
        store.create_logged_model("0", name=name)


def test_a_name_is_refused_in_the_words_of_clients(store):
    with pytest.raises(
        InvalidNameError, match=r'Invalid model name \("my\'model"\) provided. Model name must be a non'
    ):
        store.create_logged_model("0", name="my'model")


@pytest.mark.parametrize("model_id", ["", "x", "m-", "m-a/b", "m-ä", "m-" + "a" * 63])
def test_an_id_that_is_none_is_refused(store, model_id):
    with pytest.raises(InvalidNameError, match="of a logged model: use m- and"):
        store.create_logged_model("0", model_id=model_id)


def test_an_experiment_that_is_deleted_or_unknown_takes_none(store):
    with pytest.raises(NotFoundError, match="No Experiment with id=99 exists"):
        store.create_logged_model("99")
    experiment = store.create_experiment("e")
    store.delete_experiment(experiment)
    with pytest.raises(InactiveError, match="must be in the 'active' state"):
        store.create_logged_model(experiment)


@pytest.mark.parametrize("status", [LoggedModelStatus.READY, LoggedModelStatus.UPLOAD_FAILED])
def test_it_is_finalized(store, model, status):
    assert store.finalize_logged_model(model, status).status is status
    assert store.get_logged_model(model).status is status


@pytest.mark.parametrize("status", [LoggedModelStatus.PENDING, LoggedModelStatus.UNSPECIFIED])
def test_only_an_end_finalizes(store, model, status):
    with pytest.raises(InvalidInputError, match="Invalid model status"):
        store.finalize_logged_model(model, status)


def test_tags_are_set_overwritten_and_deleted(store, model):
    store.set_logged_model_tags(model, {"a": "1", "b": "2"})
    assert store.set_logged_model_tags(model, {"b": "3"}).tags == {"a": "1", "b": "3"}
    store.delete_logged_model_tag(model, "a")
    assert store.get_logged_model(model).tags == {"b": "3"}
    with pytest.raises(NotFoundError, match=f"No tag with key 'a' found for model with ID '{model}'"):
        store.delete_logged_model_tag(model, "a")


@pytest.mark.parametrize("tags", [{"": "x"}, {"k" * 251: "x"}, {"k": 5}, {"k": "x" * 100_001}])
def test_tags_and_params_that_no_store_takes_are_refused_whole(store, model, tags):
    for write in (store.set_logged_model_tags, store.log_logged_model_params):
        with pytest.raises(InvalidInputError):
            write(model, {"good": "x", **tags})
    found = store.get_logged_model(model)
    assert (found.tags, found.params) == ({}, {})


def test_params_are_added_and_never_change(store, model):
    store.log_logged_model_params(model, {"depth": "3"})
    assert store.log_logged_model_params(model, {"depth": "3", "rate": ""}).params == {"depth": "3", "rate": ""}
    with pytest.raises(ParamConflictError, match="Param with key='depth' was already logged with value='3' for model"):
        store.log_logged_model_params(model, {"new": "x", "depth": "4"})
    assert store.get_logged_model(model).params == {"depth": "3", "rate": ""}


def test_a_deleted_one_is_gone_for_everything(store, model, run):
    store.delete_logged_model(model)
    gone = f"Logged model with ID '{model}' not found"
    for ask in (
        lambda: store.get_logged_model(model),
        lambda: store.delete_logged_model(model),
        lambda: store.finalize_logged_model(model, LoggedModelStatus.READY),
        lambda: store.set_logged_model_tags(model, {"a": "b"}),
        lambda: store.delete_logged_model_tag(model, "a"),
        lambda: store.log_logged_model_params(model, {"a": "b"}),
        lambda: store.log_batch(run, model_metrics=[point(model, 1.0)]),
    ):
        with pytest.raises(NotFoundError, match=gone):
            ask()
    assert store.search_logged_models(["0"]).items == []
    with pytest.raises(AlreadyExistsError):
        store.create_logged_model("0", model_id=model)


@pytest.mark.parametrize("unknown", ["m-gone", "", "churn", "m-\x00"])
def test_an_unknown_one_is_not_found(store, unknown):
    with pytest.raises(NotFoundError, match=r"Logged model with ID '.*' not found"):
        store.get_logged_model(unknown)


def test_the_latest_point_of_each_metric_on_each_data_set_is_kept(store, model, run):
    other = store.create_run("0").run_id
    store.log_batch(
        run,
        metrics=[Metric("auc", 0.5, 1, 1)],
        model_metrics=[
            point(model, 0.5, 1, 1, dataset="d", digest="x"),
            point(model, 0.7, 0, 9, dataset="d", digest="x"),
            point(model, 0.6, 0, 0, dataset="d", digest="y"),
            point(model, math.nan, 3, 0, key="loss"),
        ],
    )
    store.log_batch(other, model_metrics=[point(model, 0.9, 1, 2, dataset="d", digest="x"), point(model, 0.1, 0, 0)])
    found = {
        (each.metric.key, each.dataset_name, each.dataset_digest): each
        for each in store.get_logged_model(model).metrics
    }
    assert list(found) == [("auc", "", ""), ("auc", "d", "x"), ("auc", "d", "y"), ("loss", "", "")]
    assert found["auc", "d", "x"] == point(model, 0.9, 1, 2, dataset="d", digest="x")._replace(run_id=other)
    assert found["auc", "d", "y"] == point(model, 0.6, 0, 0, dataset="d", digest="y")._replace(run_id=run)
    assert math.isnan(found["loss", "", ""].metric.value)
    assert store.get_run(run).metrics == {"auc": 0.5}


def test_points_of_many_models_at_once(store, run):
    models = [store.create_logged_model("0").model_id for _ in range(3)]
    store.log_batch(run, model_metrics=[point(each, step / 7, step) for step in range(500) for each in models])
    for each in models:
        [latest] = store.get_logged_model(each).metrics
        assert latest == point(each, 499 / 7, 499)._replace(run_id=run)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (point("m-gone", 1.0), NotFoundError, GONE),
        (point("m-1", "x"), InvalidInputError, "must be a number"),
        (point("m-1", 1.0, key="../x"), InvalidNameError, "Invalid name"),
        (point("m-1", 1.0, digest="x"), InvalidInputError, "a data set's digest without its name"),
        (point("m-1", 1.0, dataset="d" * 501), InvalidInputError, "'dataset_name' exceeds the maximum length of 500"),
        (point("m-1", 1.0, dataset="d", digest="x" * 37), InvalidInputError, "'dataset_digest' exceeds the maximum"),
    ],
)
def test_a_batch_with_a_wrong_point_of_a_model_leaves_nothing(store, run, given, error, message):
    store.create_logged_model("0", model_id="m-1")
    with pytest.raises(error, match=message):
        store.log_batch(
            run,
            metrics=[Metric("auc", 1.0, 0)],
            params={"p": "1"},
            tags={"t": "1"},
            model_metrics=[point("m-1", 1.0), given],
        )
    found = store.get_run(run)
    assert (found.metrics, found.params, "t" in found.tags) == ({}, {}, False)
    assert store.get_logged_model("m-1").metrics == ()


def test_a_model_stays_when_its_experiment_and_run_are_deleted(store):
    experiment = store.create_experiment("e")
    run = store.create_run(experiment).run_id
    model = store.create_logged_model(experiment, source_run_id=run).model_id
    store.log_batch(run, model_metrics=[point(model, 0.5)])
    store.delete_run(run)
    store.delete_experiment(experiment)
    assert [each.run_id for each in store.get_logged_model(model).metrics] == [run]
