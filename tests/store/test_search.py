"""Searching on both databases: filters, orders, pages, views."""

from __future__ import annotations

import math
import re
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples import examples
from prefect_ml.entities import JournalSpan, Metric, RunBatch, RunEnd, RunStart, RunStatus, ViewType
from prefect_ml.errors import InvalidFilterError, InvalidInputError


def add(store, name, *, at=0, metrics=None, params=None, tags=None, experiment="0", end=None):
    store.create_run(experiment, run_id=name, name=name, start_time=at, user_id="ann", tags=tags)
    points = [Metric(key, value, 1) for key, value in (metrics or {}).items()]
    store.log_batch(name, metrics=points, params=params or {})
    if end is not None:
        store.update_run(name, status=RunStatus.FINISHED, end_time=end)


def found(store, filter_="", order=(), **options):
    return [run.run_id for run in store.search_runs(["0"], filter_, order, **options).items]


@pytest.fixture
def filled(store):
    add(store, "a", at=1, metrics={"auc": 0.5, "n": 1}, params={"lr": "0.1", "kind": "Linear"}, tags={"team": "Risk"})
    add(store, "b", at=2, metrics={"auc": 0.9}, params={"lr": "0.2", "kind": "linear"}, tags={"team": "risk"}, end=9)
    add(store, "c", at=3, metrics={"auc": math.nan}, params={"lr": "0.1"}, tags={"a.b c": "x_y%z*?[q]"})
    add(store, "d", at=3, metrics={"auc": math.inf}, params={"long": "x" * 5999 + "y"})
    add(store, "e", at=4)
    return store


CASES = [
    ("", "ecdba"),
    ("metrics.auc > 0.5", "db"),
    ("metrics.auc >= 0.5", "dba"),
    ("metrics.auc < 1000", "ba"),
    ("metrics.auc = 0.9", "b"),
    ("metrics.auc != 0.9", "da"),
    ("metrics.auc = 0", ""),
    ("metric.n = 1 and metrics.auc = 0.5", "a"),
    ("metrics.never > 0", ""),
    ("params.lr = '0.1'", "ca"),
    ("params.lr != '0.1'", "b"),
    ("params.kind LIKE 'lin%'", "b"),
    ("params.kind ILIKE 'lin%'", "ba"),
    ("params.kind LIKE '_inear'", "ba"),
    ("params.kind LIKE '_near'", ""),
    ("params.lr = \"0.1\" AND params.kind = 'Linear'", "a"),
    ("params.long LIKE '%y'", "d"),
    (f"params.long = '{'x' * 5999}y'", "d"),
    (f"params.long = '{'x' * 5999}z'", ""),
    ("tags.team = 'risk'", "b"),
    ("tags.team ILIKE 'RISK'", "ba"),
    ("tags.`a.b c` = 'x_y%z*?[q]'", "c"),
    ("tags.`a.b c` LIKE 'x_y_z*?[q]'", "c"),
    ("tags.`a.b c` LIKE 'x_y_z*_[q]'", "c"),
    ("tags.`a.b c` LIKE '%*?[q]'", "c"),
    ("tags.`a.b c` LIKE '%[qr]'", ""),
    ("tags.`a.b c` LIKE '%\\%z%'", ""),
    ("tags.mlflow.runName = 'b'", "b"),
    ("run_name = 'b'", "b"),
    ("attributes.run_name LIKE '%'", "ecdba"),
    ("run_id IN ('a', 'e', 'z')", "ea"),
    ("run_id NOT IN ('a', 'e')", "cdb"),
    ("status = 'FINISHED'", "b"),
    ("status != 'RUNNING'", "b"),
    ("user_id = 'ann' and start_time > 2", "ecd"),
    ("start_time >= 2 and start_time < 4", "cdb"),
    ("end_time > 0", "b"),
    ("end_time != 1", "b"),
    ("start_time < 1e30", "ecdba"),
    ("start_time > 2.5", "ecd"),
]


@pytest.mark.parametrize(("filter_", "expected"), CASES)
def test_a_filter_finds(filled, filter_, expected):
    assert "".join(found(filled, filter_)) == expected


ORDERS = [
    (["metrics.auc ASC"], "abdce"),
    (["metrics.auc DESC"], "dbace"),
    (["metrics.n"], "aecdb"),
    (["params.lr"], "cabed"),
    (["params.lr DESC"], "bcaed"),
    (["tags.team"], "abecd"),
    (["attributes.start_time asc"], "abcde"),
    (["run_name DESC"], "edcba"),
    (["end_time"], "becda"),
    (["end_time DESC"], "becda"),
    (["params.lr ASC", "metrics.auc DESC"], "acbde"),
    (["status", "run_id DESC"], "bedca"),
]


@pytest.mark.parametrize(("order", "expected"), ORDERS)
def test_an_order_sorts_and_pages_the_same(filled, order, expected):
    assert "".join(found(filled, order=order)) == expected
    for size in (1, 2, 3):
        pages, token = "", None
        while True:
            page = filled.search_runs(["0"], order_by=order, max_results=size, page_token=token)
            pages += "".join(run.run_id for run in page.items)
            token = page.next_token
            if token is None:
                break
        assert pages == expected, size


def test_runs_come_with_all_they_hold(filled):
    run = next(run for run in filled.search_runs(["0"]).items if run.run_id == "a")
    assert run == filled.get_run("a")
    assert (run.metrics, run.params) == ({"auc": 0.5, "n": 1.0}, {"lr": "0.1", "kind": "Linear"})


def test_a_page_costs_the_same_number_of_queries_however_many_runs(filled):
    from sqlalchemy import event

    statements = []
    engine = filled.database._engine
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    filled.search_runs(["0"], "metrics.auc > 0", ["params.lr"], max_results=1)
    one = len(statements)
    statements.clear()
    filled.search_runs(["0"], "metrics.auc > 0", ["params.lr"])
    assert len(statements) == one


def test_views_and_experiments(store):
    made, other = store.create_experiment("x"), store.create_experiment("y")
    for name, experiment in (("a", made), ("b", made), ("c", other)):
        add(store, name, experiment=experiment)
    store.delete_run("a")

    def names(experiments, view):
        return {run.run_id for run in store.search_runs(experiments, view_type=view).items}

    assert names([made], ViewType.ACTIVE_ONLY) == {"b"}
    assert names([made], ViewType.DELETED_ONLY) == {"a"}
    assert names([made, other], ViewType.ALL) == {"a", "b", "c"}
    assert names([], ViewType.ALL) == names(["99", "x"], ViewType.ALL) == set()
    store.delete_experiment(other)
    assert names([other], ViewType.ACTIVE_ONLY) == set()
    assert names([other], ViewType.DELETED_ONLY) == {"c"}


def test_paging_is_steady_while_runs_are_added(store):
    for number in range(10):
        add(store, f"r{number}", at=number)
    first = store.search_runs(["0"], max_results=4)
    add(store, "new", at=100)
    rest = store.search_runs(["0"], max_results=50, page_token=first.next_token)
    assert [run.run_id for run in [*first.items, *rest.items]] == [f"r{number}" for number in range(9, -1, -1)]
    assert rest.next_token is None


@pytest.mark.parametrize("token", ["evilhax", "e30=", "WzFd", "eyJvZmZzZXQiOiAxfQ==", "é"])
def test_a_token_that_is_not_ours_is_refused(filled, token):
    with pytest.raises(InvalidInputError, match="Invalid page token"):
        filled.search_runs(["0"], page_token=token)
    with pytest.raises(InvalidInputError, match="Invalid page token"):
        filled.search_experiments(page_token=token)


def test_a_token_of_another_search_is_refused(filled):
    token = filled.search_runs(["0"], max_results=1).next_token
    for other in ({"filter": "metrics.auc > 0"}, {"order_by": ["metrics.auc"]}, {"view_type": ViewType.ALL}):
        with pytest.raises(InvalidInputError, match="another search"):
            filled.search_runs(["0"], page_token=token, **other)


@pytest.mark.parametrize(
    "filter_", ["metrics.auc > 'x'", "nope = 'x'", "params.a = 1", "a OR b", "metrics.auc >", "'; DROP TABLE runs"]
)
def test_a_filter_that_does_not_parse_is_refused(filled, filter_):
    with pytest.raises(InvalidFilterError):
        filled.search_runs(["0"], filter_)
    with pytest.raises(InvalidFilterError):
        filled.search_runs([], filter_)


def test_a_nul_in_a_filter_is_refused_on_both_databases(filled):
    with pytest.raises(InvalidInputError):
        filled.search_runs(["0"], "params.lr = 'a\x00b'")
    with pytest.raises(InvalidInputError):
        filled.search_runs(["0"], "params.`l\x00r` = 'b'")
    with pytest.raises(InvalidInputError):
        filled.search_runs(["0"], order_by=["params.`l\x00r`"])


@pytest.mark.parametrize("size", [0, -1, 50_001, 123456789])
def test_a_page_size_out_of_bounds_is_refused(filled, size):
    for search in (
        lambda: filled.search_runs(["0"], max_results=size),
        lambda: filled.search_experiments(max_results=size),
    ):
        with pytest.raises(InvalidInputError, match=f"Invalid value {size} for parameter 'max_results'"):
            search()


def test_many_runs_load_in_one_page(store):
    batches = [
        RunBatch(f"r{n}", RunStart("many", None, "", n, {"k": str(n)}), {"p": str(n)}, {}, [Metric("m", n, 1)],
                 RunEnd(RunStatus.FINISHED, n))
        for n in range(1001)
    ]  # fmt: skip
    assert store.apply_journal(JournalSpan("j", 0, 1), batches) == []
    made = store.get_experiment_by_name("many").experiment_id
    runs = store.search_runs([made], max_results=50_000).items
    assert [(run.run_id, run.params["p"], run.tags["k"], run.metrics["m"]) for run in runs] == [
        (f"r{n}", str(n), str(n), float(n)) for n in range(1000, -1, -1)
    ]


def experiments(store, *given, **options):
    return [each.name for each in store.search_experiments(*given, **options).items]


def test_experiments_are_searched(store):
    for name, tags in (("Alpha", {"team": "a"}), ("beta", {"team": "b"}), ("alps", None)):
        store.create_experiment(name, tags)
    store.delete_experiment("2")
    assert experiments(store, order_by=["name"]) == ["Alpha", "Default", "alps"]
    assert experiments(store, order_by=["experiment_id DESC"], view_type=ViewType.ALL) == [
        "alps",
        "beta",
        "Alpha",
        "Default",
    ]
    assert experiments(store, view_type=ViewType.DELETED_ONLY) == ["beta"]
    assert experiments(store, "name LIKE 'al%'") == ["alps"]
    assert sorted(experiments(store, "name ILIKE 'al%'")) == ["Alpha", "alps"]
    assert experiments(store, "tags.team = 'a'") == ["Alpha"]
    assert experiments(store, "tags.team != 'a'", view_type=ViewType.ALL) == ["beta"]
    assert experiments(store, "name = 'alps' and creation_time > 5") == ["alps"]
    assert experiments(store, "attribute.name = 'alps' AND attribute.`name` != 'x'") == ["alps"]
    assert experiments(store, 'attribute."name" = "alps" and tag.`te am` = "b"') == []
    assert experiments(store, "experiment_id = '0'") == ["Default"]
    assert experiments(store, "experiment_id IN ('0', '1')", order_by=["experiment_id"]) == ["Default", "Alpha"]
    assert experiments(store, "experiment_id NOT IN ('0')", order_by=["attribute.name DESC"]) == ["alps", "Alpha"]
    names, token = [], None
    while True:
        page = store.search_experiments(max_results=1, page_token=token, view_type=ViewType.ALL)
        names += [each.name for each in page.items]
        token = page.next_token
        if token is None:
            break
    assert names == experiments(store, view_type=ViewType.ALL)
    assert len(names) == 4
    assert store.search_experiments("tags.team = 'a'").items[0].tags == {"team": "a"}


SIGNS = "aA%_*?[]\\^.-éÉ"


def reference(pattern, text, flags=0):
    """What LIKE means: `%` is any text, `_` one character, and everything else itself."""
    parts = {"%": ".*", "_": "."}
    return bool(re.fullmatch("".join(parts.get(sign) or re.escape(sign) for sign in pattern), text, flags | re.DOTALL))


@settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pattern=st.text(SIGNS, max_size=4))
def test_patterns_mean_the_same_everywhere(patterned, pattern):
    store, values = patterned
    written = pattern.replace("\\", "\\\\")

    def matched(operator):
        page = store.search_runs(["0"], f"params.p {operator} '{written}'", max_results=1000)
        return {run.params["p"] for run in page.items}

    assert matched("LIKE") == {value for value in values if reference(pattern, value)}
    assert matched("ILIKE") == {value for value in values if reference(pattern, value, re.ASCII | re.IGNORECASE)}


@pytest.fixture
def patterned(store):
    """A store with a run for each text of up to two signs."""
    values = ["", "a\nb", *("".join(signs) for size in (1, 2) for signs in product(SIGNS, repeat=size))]
    values = sorted(set(values))
    batches = [RunBatch(f"r{n}", RunStart("Default", "n", "", n), {"p": value}) for n, value in enumerate(values)]
    assert store.apply_journal(JournalSpan("fill", 0, 1), batches) == []
    return store, values
