"""Registered models on both databases."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.entities import Stage
from prefect_ml.errors import AlreadyExistsError, InvalidFilterError, InvalidInputError, InvalidNameError, NotFoundError


def test_created_read_described_and_tagged(store):
    made = store.create_registered_model("churn é'\"%@ model", "who leaves", {"team": "risk", "a b/c": ""})
    assert made == store.get_registered_model(made.name)
    assert (made.description, made.tags) == ("who leaves", {"team": "risk", "a b/c": ""})
    assert made.creation_timestamp == made.last_updated_timestamp > 1_700_000_000_000
    assert (made.aliases, made.latest_versions) == ({}, ())
    store.set_registered_model_tag(made.name, "team", "growth")
    store.delete_registered_model_tag(made.name, "a b/c")
    store.delete_registered_model_tag(made.name, "never there")
    changed = store.update_registered_model(made.name, "new words")
    assert (changed.description, changed.tags) == ("new words", {"team": "growth"})
    assert changed.last_updated_timestamp >= made.last_updated_timestamp
    assert changed == store.get_registered_model(made.name)


def test_a_name_is_taken_once_and_minds_the_case(store):
    store.create_registered_model("churn")
    store.create_registered_model("Churn")
    with pytest.raises(AlreadyExistsError, match=r"Registered Model \(name=churn\) already exists"):
        store.create_registered_model("churn")
    prompt = {"mlflow.prompt.is_prompt": "true"}
    store.create_registered_model("ask", tags=prompt)
    with pytest.raises(AlreadyExistsError, match=r"Prompt \(name=ask\) already exists"):
        store.create_registered_model("ask", tags=prompt)
    with pytest.raises(AlreadyExistsError, match="Tried to create a prompt with name 'churn'"):
        store.create_registered_model("churn", tags=prompt)
    with pytest.raises(AlreadyExistsError, match="Tried to create a model with name 'ask'"):
        store.create_registered_model("ask")


def test_what_cannot_be_meant_is_refused_and_leaves_nothing(store):
    for name in ("", "  ", "a/b", "a:b", "x" * 257, "a\x00b", "\ud800", None, 5):
        with pytest.raises(InvalidInputError):
            store.create_registered_model(name)
    with pytest.raises(InvalidNameError, match="Missing value for required parameter 'name'"):
        store.create_registered_model("")
    with pytest.raises(InvalidInputError, match="'value' exceeds the maximum length of 100000 characters"):
        store.create_registered_model("m", tags={"a": "x" * 100_001})
    with pytest.raises(InvalidNameError, match="Missing value for required parameter 'key'"):
        store.create_registered_model("m", tags={"": "x"})
    with pytest.raises(InvalidInputError, match="must be a string, got 5"):
        store.create_registered_model("m", tags={"a": 5})
    assert store.search_registered_models().items == []
    assert store.audit() == []


def test_an_unknown_model_is_not_found_by_any_call(store):
    for call in (
        lambda: store.get_registered_model("m"),
        lambda: store.get_registered_model("a\x00b"),
        lambda: store.update_registered_model("m", ""),
        lambda: store.rename_registered_model("m", "n"),
        lambda: store.delete_registered_model("m"),
        lambda: store.set_registered_model_tag("m", "a", "b"),
        lambda: store.delete_registered_model_tag("m", "a"),
        lambda: store.create_model_version("m", "s"),
        lambda: store.latest_versions("m"),
        lambda: store.set_alias("m", "a", 1),
        lambda: store.delete_alias("m", "a"),
    ):
        with pytest.raises(NotFoundError, match=r"Registered Model with name=.* not found"):
            call()
    for name in ("\ud800", None):
        with pytest.raises((NotFoundError, InvalidInputError)):  # the latter where it cannot even be sent
            store.get_registered_model(name)


def test_renaming_carries_everything_and_moves_aliases_in_new_generations(store):
    store.create_registered_model("old", tags={"a": "b"})
    store.create_model_version("old", "s", tags={"c": "d"})
    store.set_alias("old", "blue", 1)
    store.create_registered_model("taken")
    with pytest.raises(AlreadyExistsError):
        store.rename_registered_model("old", "taken")
    with pytest.raises(InvalidNameError, match="Missing value for required parameter 'new_name'"):
        store.rename_registered_model("old", "")
    before = store.get_model_version("old", 1)
    renamed = store.rename_registered_model("old", "new")
    assert (renamed.name, renamed.tags, renamed.aliases) == ("new", {"a": "b"}, {"blue": 1})
    version = store.get_model_version("new", 1)
    assert (version.name, version.tags, version.aliases) == ("new", {"c": "d"}, ("blue",))
    assert version.last_updated_timestamp >= before.last_updated_timestamp
    with pytest.raises(NotFoundError):
        store.get_registered_model("old")
    assert [(m.generation, m.version) for m in store.alias_history("old", "blue")] == [(1, 1), (2, None)]
    assert [(m.generation, m.version) for m in store.alias_history("new", "blue")] == [(1, 1)]
    # and back again: the name `old` never gives a generation twice
    store.rename_registered_model("new", "old")
    assert store.get_alias("old", "blue").generation == 3


def test_deleting_takes_versions_tags_and_aliases_along(store):
    store.create_registered_model("m", tags={"a": "b"})
    store.create_model_version("m", "s", tags={"a": "b"})
    store.set_alias("m", "blue", 1)
    store.delete_registered_model("m")
    with pytest.raises(NotFoundError):
        store.get_model_version("m", 1)
    assert store.search_model_versions().items == []
    again = store.create_registered_model("m")
    assert (again.tags, again.aliases, again.latest_versions) == ({}, {}, ())
    store.create_model_version("m", "s2")
    assert store.set_alias("m", "blue", 1).generation == 3, "a generation came back"
    assert [m.version for m in store.alias_history("m", "blue")] == [1, None, 1]


def test_the_latest_version_of_each_stage_comes_with_the_model(store):
    store.create_registered_model("m")
    for _ in range(4):
        store.create_model_version("m", "s")
    store.transition_stage("m", 1, Stage.PRODUCTION)
    store.transition_stage("m", 2, Stage.PRODUCTION)
    found = store.get_registered_model("m").latest_versions
    assert [(v.version, v.stage) for v in found] == [(2, Stage.PRODUCTION), (4, Stage.NONE)]


def names(page):
    return [model.name for model in page.items]


def test_search_by_name_and_tag(store):
    for name, tags in (("b_1", {"team": "x"}), ("a%1", {"team": "Y"}), ("B", {}), ("é", {"team": "xx"})):
        store.create_registered_model(name, tags=tags)
    assert names(store.search_registered_models()) == ["B", "a%1", "b_1", "é"]
    for text, expected in (
        ("name = 'B'", ["B"]),
        ("name != 'B'", ["a%1", "b_1", "é"]),
        ("name LIKE 'b%'", ["b_1"]),
        ("name IN ('B', 'é', 'x')", ["B", "é"]),
        ("name NOT IN ('B')", ["a%1", "b_1", "é"]),
        ("attribute.name ILIKE 'b%'", ["B", "b_1"]),
        ("tags.team LIKE 'x%'", ["b_1", "é"]),
        ("tag.team != 'x'", ["a%1", "é"]),
        ("tag.team ilike 'y' and name like '%1'", ["a%1"]),
        ("name = 'it''s'", []),
        ("tag.`no such` = 'x'", []),
    ):
        assert names(store.search_registered_models(text)) == expected, text
    assert names(store.search_registered_models(order_by=["name desc"])) == ["é", "b_1", "a%1", "B"]
    store.update_registered_model("a%1", "touched last")
    assert names(store.search_registered_models(order_by=["timestamp DESC"]))[0] == "a%1"
    with pytest.raises(InvalidFilterError, match="Invalid attribute key 'run_id'"):
        store.search_registered_models("run_id = 'x'")
    with pytest.raises(InvalidFilterError, match="Invalid order by key 'creation_timestamp'"):
        store.search_registered_models(order_by=["creation_timestamp"])


def test_prompts_are_found_only_by_who_asks_for_them(store):
    prompt = {"mlflow.prompt.is_prompt": "true"}
    store.create_registered_model("model")
    store.create_registered_model("prompt", tags=prompt)
    store.create_registered_model("no prompt", tags={"mlflow.prompt.is_prompt": "false"})
    store.create_model_version("model", "s")
    store.create_model_version("prompt", "dummy-source", tags=prompt)
    asked = "tags.`mlflow.prompt.is_prompt` = 'true'"
    assert names(store.search_registered_models()) == ["model", "no prompt"]
    assert names(store.search_registered_models(asked)) == ["prompt"]
    assert names(store.search_model_versions()) == ["model"]
    assert names(store.search_model_versions(asked)) == ["prompt"]


def test_pages_are_whole_and_their_tokens_are_bound_to_the_search(store):
    for number in range(7):
        store.create_registered_model(f"m{number}")
    seen, token = [], None
    while True:
        page = store.search_registered_models(max_results=3, page_token=token)
        seen += names(page)
        if (token := page.next_token) is None:
            break
        if len(seen) == 3:
            store.create_registered_model("m00")  # behind the page: shown neither twice nor instead of another
    assert seen == [f"m{number}" for number in range(7)]
    token = store.search_registered_models(max_results=3).next_token
    with pytest.raises(InvalidInputError, match="Invalid page token"):
        store.search_registered_models(page_token="evilhax")  # noqa: S106  a page's
    with pytest.raises(InvalidInputError, match="another search"):
        store.search_registered_models("name LIKE 'm%'", page_token=token)
    for size in (0, -1, 1001, "5"):
        with pytest.raises(InvalidInputError, match=r"'max_results' supplied|max_results must be"):
            store.search_registered_models(max_results=size)


def test_a_store_from_before_the_registry_gets_one_and_keeps_what_it_holds(empty_url):
    from alembic import command
    from alembic.config import Config

    from prefect_ml.settings import Settings
    from prefect_ml.store import open_store
    from prefect_ml.store.database import Database
    from prefect_ml.store.migrations import FOLDER

    def first_release(connection):
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(FOLDER))
        command.upgrade(config, "r0001")

    old = Database(empty_url, Settings().sqlite_synchronous)
    old.write(first_release)
    old.write(lambda connection: connection.exec_driver_sql("UPDATE experiments SET name = 'kept'") and None)
    old.close()
    store = open_store(empty_url)
    assert store.get_experiment_by_name("kept").experiment_id == "0"
    store.create_registered_model("m")
    assert store.verify_audit() == 1
    store.close()
    old.close()


@given(st.text(max_size=40))
def test_every_name_that_is_taken_stands_for_itself_in_a_uri(text):
    from prefect_ml.models.uri import ModelUri
    from prefect_ml.store.registry_names import check_alias, check_model_name

    with contextlib.suppress(InvalidInputError):
        name = check_model_name(text)
        assert ModelUri.parse(f"models:/{name}/7").name == name
        parsed = ModelUri.parse(f"models:/{name}@champion")
        assert (parsed.name, parsed.alias) == (name, "champion")
    with contextlib.suppress(InvalidInputError):
        alias = check_alias(text)
        parsed = ModelUri.parse(f"models:/m@{alias}")
        assert (parsed.name, parsed.alias) == ("m", alias)
