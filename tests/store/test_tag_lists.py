"""A JSON list in a tag of a run grows by a value, whoever else adds to it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from prefect_ml.errors import InvalidInputError, InvalidNameError

KEY = "mlflow.log-model.history"


@pytest.fixture
def run(store):
    return store.create_run("0").run_id


def listed(store, run):
    return json.loads(store.get_run(run).tags[KEY])


def test_it_is_begun_and_grows(store, run):
    for value in ({"artifact_path": "model", "flavors": {"é": None}}, "text", 5, ["nested"]):
        store.append_to_tag(run, KEY, value)
    assert listed(store, run) == [{"artifact_path": "model", "flavors": {"é": None}}, "text", 5, ["nested"]]


def test_it_is_not_cut_as_other_tags_are(store, run):
    for number in range(3):
        store.append_to_tag(run, KEY, {"number": number, "text": "x" * 7000})
    assert [each["number"] for each in listed(store, run)] == [0, 1, 2]


def test_what_threads_add_at_once_is_all_there(store, run):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.append_to_tag(run, KEY, number), range(40)))
    assert sorted(listed(store, run)) == list(range(40))


@pytest.mark.parametrize("held", ["no JSON", '{"a": 1}', ""])
def test_a_tag_that_holds_something_else_stays_as_it_is(store, run, held):
    store.log_batch(run, tags={KEY: held})
    with pytest.raises(InvalidInputError, match="holds no JSON list"):
        store.append_to_tag(run, KEY, 1)
    assert store.get_run(run).tags[KEY] == held


def test_what_is_too_long_or_misnamed_is_refused(store, run):
    store.append_to_tag(run, KEY, "x" * 600_000)
    with pytest.raises(InvalidInputError, match="at most 1000000 are kept"):
        store.append_to_tag(run, KEY, "x" * 600_000)
    assert listed(store, run) == ["x" * 600_000]
    with pytest.raises(InvalidNameError, match="Invalid name"):
        store.append_to_tag(run, "../x", 1)
