"""Experiments on both databases."""

from __future__ import annotations

import pytest

from prefect_ml.entities import LifecycleStage
from prefect_ml.errors import (
    AlreadyExistsError,
    InactiveError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
)


def test_a_fresh_store_holds_the_default_experiment(store):
    default = store.get_experiment("0")
    assert (default.name, default.lifecycle_stage) == ("Default", LifecycleStage.ACTIVE)
    assert default.artifact_location.endswith("/artifacts/0")
    assert store.get_experiment_by_name("Default") == default


def test_ids_count_up_and_are_kept(store):
    assert [store.create_experiment(name) for name in ("a", "b")] == ["1", "2"]
    store.delete_experiment("2")
    assert store.create_experiment("c") == "3"


def test_created_with_tags_and_read_back(store):
    made = store.create_experiment("churn", {"team": "risk", "note": ""})
    found = store.get_experiment(made)
    assert found.tags == {"team": "risk", "note": ""}
    assert found.creation_time == found.last_update_time > 1_700_000_000_000
    assert found.artifact_location.endswith(f"/artifacts/{made}")


def test_tags_come_in_the_order_of_their_keys(store):
    made = store.create_experiment("a", tags={"ä": "1", "b/c": "2", "B": "3", "a": "4"})
    store.set_experiment_tag(made, "a", "5")
    assert list(store.get_experiment(made).tags) == ["B", "a", "b/c", "ä"]


def test_a_name_is_taken_also_by_a_deleted_one(store):
    made = store.create_experiment("churn")
    store.delete_experiment(made)
    with pytest.raises(AlreadyExistsError, match=r"Experiment\(name=churn\) already exists"):
        store.create_experiment("churn")
    other = store.create_experiment("other")
    with pytest.raises(AlreadyExistsError):
        store.rename_experiment(other, "churn")
    assert store.get_experiment_by_name("churn").lifecycle_stage is LifecycleStage.DELETED


@pytest.mark.parametrize("unknown", ["99", "", "x", "-1", "1.5", "٣", "9" * 40, "0; DROP TABLE runs"])
def test_an_unknown_id_is_not_found(store, unknown):
    with pytest.raises(NotFoundError, match="No Experiment with id="):
        store.get_experiment(unknown)


def test_an_unknown_name_is_not_found(store):
    with pytest.raises(NotFoundError, match="no experiment named 'nope'"):
        store.get_experiment_by_name("nope")


@pytest.mark.parametrize("name", ["", "  ", "x" * 501, 5, None, "a\x00b", "\ud800"])
def test_a_bad_name_is_refused(store, name):
    with pytest.raises(InvalidInputError):
        store.create_experiment(name)


def test_deleting_takes_the_runs_along_and_restoring_brings_all_back(store):
    made = store.create_experiment("churn")
    kept, gone = (store.create_run(made).run_id for _ in range(2))
    store.delete_run(gone)
    store.delete_experiment(made)
    assert store.get_run(kept).lifecycle_stage is LifecycleStage.DELETED
    for change in (
        lambda: store.set_experiment_tag(made, "a", "b"),
        lambda: store.rename_experiment(made, "n"),
        lambda: store.create_run(made),
        lambda: store.restore_run(kept),
    ):
        with pytest.raises(InactiveError, match=r"must be in the 'active' state\. Current state is deleted"):
            change()
    store.restore_experiment(made)
    assert {store.get_run(run).lifecycle_stage for run in (kept, gone)} == {LifecycleStage.ACTIVE}


def test_renaming_and_tagging_note_the_time(store):
    made = store.create_experiment("churn", {"a": "1"})
    before = store.get_experiment(made)
    store.rename_experiment(made, "churn 2")
    store.set_experiment_tag(made, "a", "2")
    store.set_experiment_tag(made, "b", "x" * 6000)
    after = store.get_experiment(made)
    assert after.name == "churn 2"
    assert after.tags == {"a": "2", "b": "x" * 5000}
    assert after.last_update_time >= before.last_update_time
    assert after.creation_time == before.creation_time


def test_a_tag_key_is_checked(store):
    with pytest.raises(InvalidNameError):
        store.set_experiment_tag("0", "../a", "b")


def test_a_tag_is_deleted_once(store):
    made = store.create_experiment("churn", {"a": "1", "b": "2"})
    store.delete_experiment_tag(made, "a")
    assert store.get_experiment(made).tags == {"b": "2"}
    with pytest.raises(NotFoundError, match=f"No tag with name: a in experiment with id {made}"):
        store.delete_experiment_tag(made, "a")
    with pytest.raises(NotFoundError, match="No Experiment with id=99 exists"):
        store.delete_experiment_tag("99", "a")
    store.delete_experiment(made)
    with pytest.raises(InactiveError, match="must be in the 'active' state"):
        store.delete_experiment_tag(made, "b")
