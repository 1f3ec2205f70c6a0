"""Where experiments keep their artifacts when they are told to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.errors import InvalidInputError, PrefectMLError
from prefect_ml.store.locations import check_location


@pytest.mark.parametrize(
    "location", ["s3://bucket/a b", "/data/artifacts", "file:///data", "dbfs:/x", "abfss://c@a/p/"]
)
def test_an_absolute_one_is_kept_as_it_is_and_runs_and_models_are_below(store, location):
    experiment = store.create_experiment("e", artifact_location=location)
    assert store.get_experiment(experiment).artifact_location == location
    run = store.create_run(experiment)
    assert run.artifact_uri == f"{location.rstrip('/')}/{run.run_id}/artifacts"
    model = store.create_logged_model(experiment)
    assert model.artifact_uri == f"{location.rstrip('/')}/models/{model.model_id}/artifacts"


def test_an_empty_one_is_none(store):
    experiment = store.create_experiment("e", artifact_location="")
    assert store.get_experiment(experiment).artifact_location.endswith(f"/{experiment}")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("s3://bucket/a#b", "'artifact_location' URL can't include fragments or params"),
        ("s3://bucket/a?b=c", "'artifact_location' URL can't include fragments or params"),
        ("/data#b", "can't include fragments or params"),
        ("mlflow-artifacts:/1", "given out by the server alone"),
        ("MLflow-Artifacts://host/1", "given out by the server alone"),
        ("artifacts", "must be an absolute URI or folder"),
        ("./artifacts", "must be an absolute URI or folder"),
        ("file:artifacts", "must be an absolute URI or folder"),
        (" mlflow-artifacts:/1", "must be an absolute URI or folder"),
        ("/data/../etc", "must not have '.' or '..'"),
        ("s3://bucket/%2e%2e/x", "must not have '.' or '..'"),
        ("s3://bucket/%252e%252e/x", "must not have '.' or '..'"),
        ("file:///data/..\\x", "must not have '.' or '..'"),
        ("/data\x00", "NUL character"),
        ("/data%00", "must not have '.' or '..'"),
        ("/" + "x" * 2000, "at most 2000 characters"),
        (5, "must be a string"),
    ],
)
def test_any_other_is_refused_and_no_experiment_is_made(store, location, message):
    with pytest.raises(InvalidInputError, match=message):
        store.create_experiment("e", artifact_location=location)
    assert [each.name for each in store.search_experiments().items] == ["Default"]


PARTS = st.lists(st.sampled_from(["..", "%2e", ".", "a", "/", "\\", "%2f", "%25", ":", "s3", "//"]), max_size=8)


@given(PARTS.map("".join))
def test_whatever_passes_leads_nowhere_else(text):
    from urllib.parse import unquote

    try:
        location = check_location(text)
    except PrefectMLError:
        return
    for _ in range(10):
        location = unquote(location)
    assert ".." not in location.replace("\\", "/").split("/")
