"""Aliases and their history on both databases."""

from __future__ import annotations

import getpass

import pytest
from sqlalchemy import Engine, event

from prefect_ml.errors import InvalidInputError, InvalidNameError, NotFoundError


@pytest.fixture
def model(store):
    store.create_registered_model("m")
    for _ in range(3):
        store.create_model_version("m", "s")
    return store


def test_set_moved_deleted_and_set_again(model):
    first = model.set_alias("m", "blue", 1, actor="ann", reason="start")
    assert (first.version, first.generation, first.previous_version) == (1, 1, None)
    assert (first.moved_by, first.request_id) == ("ann", None)
    second = model.set_alias("m", "blue", 3, actor="bob")
    assert (second.version, second.generation, second.previous_version) == (3, 2, 1)
    assert model.get_alias("m", "blue") == second
    assert model.get_model_version("m", 3).aliases == ("blue",)
    assert model.get_registered_model("m").aliases == {"blue": 3}
    model.delete_alias("m", "blue", actor="cem", reason="done")
    with pytest.raises(NotFoundError, match="Registered model alias blue not found"):
        model.get_alias("m", "blue")
    again = model.set_alias("m", "blue", 2)
    assert (again.generation, again.previous_version) == (4, None)
    moves = model.alias_history("m", "blue")
    assert [(m.generation, m.version, m.previous_version, m.moved_by, m.reason) for m in moves] == [
        (1, 1, None, "ann", "start"),
        (2, 3, 1, "bob", ""),
        (3, None, 3, "cem", "done"),
        (4, 2, None, getpass.getuser(), ""),
    ]


def test_setting_it_where_it_is_moves_nothing(model):
    model.set_alias("m", "blue", 1)
    moved = model.set_alias("m", "blue", 2, actor="ann")
    rows = len(model.audit())
    assert model.set_alias("m", "blue", 2, actor="bob") == moved
    assert len(model.audit()) == rows


def test_deleting_what_is_not_there_is_no_error(model):
    model.delete_alias("m", "blue")
    assert model.alias_history("m", "blue") == []
    assert "alias-deleted" not in [entry.action for entry in model.audit()]


def test_reserved_and_odd_names_are_refused(model):
    for alias in ("latest", "LaTest"):
        with pytest.raises(InvalidNameError, match=r"'latest' alias name \(case insensitive\) is reserved\."):
            model.set_alias("m", alias, 1)
    for alias in ("v1", "V22"):
        with pytest.raises(InvalidNameError, match=rf"Version alias name '{alias}' is reserved\."):
            model.set_alias("m", alias, 1)
    for alias in ("", "a b", "a@b", "a/b", "a:b", "x" * 256, "a\n", "a\x00", None, 3):
        with pytest.raises(InvalidInputError):
            model.set_alias("m", alias, 1)
    for alias in ("v", "v1a", "latest2", "x" * 255, "é-1_2.3"):
        assert model.set_alias("m", alias, 1).generation == 1
    with pytest.raises(InvalidInputError, match="at most 2000"):
        model.set_alias("m", "blue", 1, reason="x" * 2001)


def test_where_it_pointed_at_a_time(model):
    model.set_alias("m", "blue", 1)
    model.set_alias("m", "blue", 2)
    model.delete_alias("m", "blue")
    first, second, gone = (move.moved_at for move in model.alias_history("m", "blue"))
    assert model.alias_at("m", "blue", first - 1) is None
    at_second = model.alias_at("m", "blue", second)
    assert at_second is None if gone == second else at_second.version == 2
    assert model.alias_at("m", "blue", gone + 10_000) is None
    model.set_alias("m", "blue", 3)
    assert model.alias_at("m", "blue", 2**62).version == 3


def test_a_move_is_few_ways_to_the_database_and_its_statements_are_made_once(model):
    """A team's database is behind a network, and a statement that is compiled each time costs more than the way."""
    found = []

    def note(_connection, _cursor, statement, _parameters, context, _many):
        if any(table in statement for table in ("alias", "audit", "registered_models", "policies", "model_versions")):
            found.append((statement.split()[0], context.cache_hit.name))

    for version in (1, 2, 3, 1):
        model.set_alias("m", "blue", version)
    event.listen(Engine, "after_cursor_execute", note)
    try:
        model.set_alias("m", "blue", 2)
    finally:
        event.remove(Engine, "after_cursor_execute", note)
    assert len(found) <= (3 if model.database.dialect == "postgresql" else 7), found
    assert {hit for _, hit in found} == {"CACHE_HIT"}, found
    assert model.verify_audit() == len(model.audit())
