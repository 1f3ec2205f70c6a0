"""Model versions on both databases."""

from __future__ import annotations

import threading

import pytest

from prefect_ml.entities import Stage
from prefect_ml.errors import InvalidFilterError, InvalidInputError, NotFoundError


def test_created_read_described_and_tagged(store):
    store.create_registered_model("m")
    made = store.create_model_version(
        "m", "runs:/r/model", run_id="r", description="first", artifact_digest="sha256:ab", tags={"a": "1"}
    )
    assert made == store.get_model_version("m", 1)
    assert (made.name, made.version, made.source, made.run_id) == ("m", 1, "runs:/r/model", "r")
    assert (made.description, made.artifact_digest, made.tags) == ("first", "sha256:ab", {"a": "1"})
    assert (made.stage, made.aliases) == (Stage.NONE, ())
    store.set_model_version_tag("m", 1, "a", "2")
    store.set_model_version_tag("m", 1, "b", "3")
    store.delete_model_version_tag("m", 1, "b")
    store.delete_model_version_tag("m", 1, "never there")
    changed = store.update_model_version("m", 1, "better words")
    assert (changed.description, changed.tags) == ("better words", {"a": "2"})
    assert store.get_registered_model("m").last_updated_timestamp >= made.creation_timestamp


def test_a_copy_is_where_the_version_is_that_it_was_copied_from(store):
    for name in ("m", "copy", "again"):
        store.create_registered_model(name)
    run = store.create_run("0").run_id
    model = store.create_logged_model("0", name="made", source_run_id=run)
    first = store.create_model_version("m", "s3://b/model", model_id=model.model_id, run_link="https://runs/1")
    assert (first.location, first.model_id, first.run_link) == ("", model.model_id, "https://runs/1")
    copied = store.create_model_version("copy", "models:/m/1")
    again = store.create_model_version("again", "models:/copy/1", model_id="m-other")
    assert (copied.source, copied.location, copied.model_id) == ("models:/m/1", "s3://b/model", model.model_id)
    assert (again.location, again.model_id) == ("s3://b/model", "m-other")
    logged = store.create_model_version("m", f"models:/{model.model_id}")
    assert (logged.location, logged.model_id, logged.run_id) == (model.artifact_uri, model.model_id, run)
    assert store.create_model_version("again", f"models:/{model.model_id}", run_id="other").run_id == "other"
    assert list(store.latest_versions("m")) == [logged]
    store.delete_model_version("m", 1)
    assert store.get_model_version("copy", 1) == copied
    assert store.create_model_version("m", "models:/m@champion").location == ""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("models:/nope/1", "Registered Model with name=nope not found"),
        ("models:/m/7", r"Model Version \(name=m, version=7\) not found"),
        ("models:/m-gone", "Logged model with ID 'm-gone' not found"),
    ],
)
def test_a_copy_of_nothing_is_not_found_and_takes_no_number(store, source, message):
    store.create_registered_model("m")
    with pytest.raises(NotFoundError, match=message):
        store.create_model_version("m", source)
    assert store.create_model_version("m", "s").version == 1


def test_numbers_count_up_and_are_never_given_again(store):
    store.create_registered_model("m")
    store.create_registered_model("n")
    assert [store.create_model_version("m", "s").version for _ in range(3)] == [1, 2, 3]
    store.delete_model_version("m", 3)
    assert store.create_model_version("m", "s").version == 4
    assert store.create_model_version("n", "s").version == 1
    for call in (
        lambda: store.get_model_version("m", 3),
        lambda: store.update_model_version("m", 3, ""),
        lambda: store.delete_model_version("m", 3),
        lambda: store.set_model_version_tag("m", 3, "a", "b"),
        lambda: store.delete_model_version_tag("m", 3, "a"),
        lambda: store.transition_stage("m", 3, Stage.STAGING),
        lambda: store.set_alias("m", "blue", 3),
        lambda: store.get_model_version("m", 2**63 - 1),
    ):
        with pytest.raises(NotFoundError, match=r"Model Version \(name=m, version=.*\) not found"):
            call()


def test_threads_that_register_at_once_get_all_numbers(store):
    store.create_registered_model("m")
    made, threads = [], []
    for number in range(12):
        source = f"s{number}"
        work = threading.Thread(target=lambda s=source: made.append(store.create_model_version("m", s)))
        threads.append(work)
        work.start()
    for work in threads:
        work.join()
    assert sorted(version.version for version in made) == list(range(1, 13))
    assert {store.get_model_version("m", v.version).source for v in made} == {f"s{n}" for n in range(12)}
    assert store.verify_audit() == 13


def test_what_cannot_be_meant_is_refused_and_leaves_nothing(store):
    store.create_registered_model("m")
    for version in ("I am not a version", "1", 0, -1, 1.0, True, None, 2**63):
        with pytest.raises(InvalidInputError, match=r"version'? must be an integer, got"):
            store.get_model_version("m", version)
    for values in (
        {"source": ""},
        {"source": "s\x00"},
        {"source": "x" * 5001},
        {"source": "s", "description": "x" * 100_001},
        {"source": "s", "tags": {"a": "x" * 100_001}},
        {"source": "s", "tags": {"k" * 251: "x"}},
        {"source": "s", "run_id": 5},
        {"source": "s", "artifact_digest": None},
    ):
        with pytest.raises(InvalidInputError):
            store.create_model_version("m", **values)
    assert store.search_model_versions().items == []
    assert store.create_model_version("m", "s").version == 1


def test_deleting_a_version_removes_the_aliases_on_it(store):
    store.create_registered_model("m")
    for _ in range(2):
        store.create_model_version("m", "s", tags={"a": "b"})
    store.set_alias("m", "blue", 1)
    store.set_alias("m", "green", 2)
    store.delete_model_version("m", 1)
    assert store.get_registered_model("m").aliases == {"green": 2}
    assert [m.version for m in store.alias_history("m", "blue")] == [1, None]
    assert store.set_alias("m", "blue", 2).generation == 3


def found(store, text="", **given):
    return [(v.name, v.version) for v in store.search_model_versions(text, **given).items]


@pytest.fixture
def versions(store):
    for name, run_id, source, tags in (
        ("a", "r1", "s3://x/1", {"k": "v"}),
        ("a", "r2", "s3://x/2", {"k": "V"}),
        ("b", "r3", "gs://y", {}),
        ("b", None, "GS://z", {"k": "w", "K": "v"}),
    ):
        if name not in [model.name for model in store.search_registered_models().items]:
            store.create_registered_model(name)
        store.create_model_version(name, source, run_id=run_id, tags=tags)
    return store


def test_search_by_every_key(versions):
    order = {"order_by": ["name", "version_number"]}
    for text, expected in (
        ("", [("a", 1), ("a", 2), ("b", 1), ("b", 2)]),
        ("name = 'a'", [("a", 1), ("a", 2)]),
        ("version_number > 1.5", [("a", 2), ("b", 2)]),
        ("version_number <= 1", [("a", 1), ("b", 1)]),
        ("version_number != 1 AND name = 'b'", [("b", 2)]),
        ("version_number < 9223372036854775807", [("a", 1), ("a", 2), ("b", 1), ("b", 2)]),
        ("run_id = 'r1'", [("a", 1)]),
        ("run_id != 'r1'", [("a", 2), ("b", 1)]),
        ("run_id IN ('r1', 'r3', 'x')", [("a", 1), ("b", 1)]),
        ("name IN ('b') AND version_number >= 2", [("b", 2)]),
        ("run_id NOT IN ('r1')", [("a", 2), ("b", 1)]),
        ("source_path LIKE 'gs:%'", [("b", 1)]),
        ("source_path ILIKE 'gs:%'", [("b", 1), ("b", 2)]),
        ("tags.k = 'v'", [("a", 1)]),
        ("tag.K = 'v'", [("b", 2)]),
        ("tag.k ILIKE 'v' and run_id like 'r_'", [("a", 1), ("a", 2)]),
    ):
        assert found(versions, text, **order) == expected, text
    with pytest.raises(InvalidFilterError, match="empty list"):
        found(versions, "run_id IN ()")


def test_the_last_updated_comes_first_and_orders_are_kept(versions):
    assert found(versions, order_by=["name DESC", "version_number ASC"]) == [("b", 1), ("b", 2), ("a", 1), ("a", 2)]
    newest = found(versions)
    stamps = [versions.get_model_version(*key).last_updated_timestamp for key in newest]
    assert stamps == sorted(stamps, reverse=True)
    assert found(versions, order_by=["creation_timestamp"])[0] == ("a", 1)
    pages, token = [], None
    for _ in range(4):
        page = versions.search_model_versions(max_results=1, page_token=token)
        pages += [(v.name, v.version) for v in page.items]
        token = page.next_token
    assert pages == newest
    assert token is None
