"""Finding logged models by attributes, params, tags, and metrics on data sets; MLflow finds the same."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from prefect_ml.entities import LoggedModelOrder, LoggedModelStatus, Metric, ModelMetric
from prefect_ml.errors import InvalidFilterError, InvalidInputError
from prefect_ml.store.logged_model_tables import logged_model_metrics, logged_models

# name, params, tags, points: key, value, step, data set, digest
MODELS = {
    "a": ({"depth": "3"}, {"team": "risk"}, [("auc", 0.9, 2, "d", "x"), ("auc", 0.4, 1, "d", "y")]),
    "b": ({"depth": "10"}, {"team": "Risk", "my tag": "v"}, [("auc", 0.6, 1, "d", "x"), ("auc", 0.8, 3, "e", "x")]),
    "c": ({}, {}, [("auc", math.nan, 0, "", ""), ("loss.val", 0.1, 0, "", "")]),
    "d": ({"rate": ""}, {}, []),
}
FOUND = [
    ("", [], "dcba"),
    ("name = 'a'", [], "a"),
    ("attributes.name != 'a'", [], "dcb"),
    ("name IN ('a', 'c',)", [], "ca"),
    ("attributes.name NOT IN ('a', 'c')", [], "db"),
    ("name LIKE '%' AND name ILIKE 'B'", [], "b"),
    ("params.depth = '3'", [], "a"),
    ("params.depth != '3'", [], "b"),
    ("params.rate = ''", [], "d"),
    ("params.depth IN ('3', '4')", [], "a"),
    ("tags.team = 'risk'", [], "a"),
    ("tags.team ILIKE 'RISK'", [], "ba"),
    ("tags.team LIKE 'r%'", [], "a"),
    ("tags.`my tag` = 'v'", [], "b"),
    ("tags.team IN ('Risk',)", [], "b"),
    ("metrics.auc > 0.5", [], "ba"),
    ("metrics.auc > 0.7 and metrics.auc < 0.85", [], "ba"),
    ("metrics.auc > 0.5", [("d", "x")], "ba"),
    ("metrics.auc < 0.5", [("d", "x")], ""),
    ("metrics.auc < 0.5", [("d", "")], "a"),
    ("metrics.auc > 0.7", [("e", "x"), ("d", "y")], "b"),
    ("", [("d", "y")], "a"),
    ("", [("e", "")], "b"),
    ("metrics.`loss.val` <= 0.1", [], "c"),
    ("creation_timestamp > 0 and last_updated_timestamp > 0", [], "dcba"),
    ("creation_time < 10", [], ""),
    ("model_id LIKE 'm-%'", [], "dcba"),
    ("artifact_location LIKE '%/models/m-%'", [], "dcba"),
    ("experiment_id = '0' and name = 'a'", [], "a"),
    ("source_run_id = 'no such run'", [], ""),
]
ORDERED = [
    ([("name", True, "", "")], "abcd"),
    ([("name", False, "", "")], "dcba"),
    ([("creation_time", True, "", "")], "abcd"),
    ([("metrics.auc", False, "", "")], "abcd"),
    ([("metrics.auc", True, "d", "x")], "badc"),
    ([("metrics.auc", True, "e", "")], "bdca"),
    ([("metrics.`loss.val`", True, "", ""), ("name", True, "", "")], "cabd"),
    ([("status", True, "", ""), ("name", False, "", "")], "dcba"),
]


@pytest.fixture
def filled(store):
    run = store.create_run("0").run_id
    for name, (params, tags, points) in MODELS.items():
        store.create_logged_model("0", model_id=f"m-{name}", name=name, params=params, tags=tags)
        metrics = [ModelMetric(f"m-{name}", Metric(k, v, 0, step), d, g) for k, v, step, d, g in points]
        store.log_batch(run, model_metrics=metrics)
    return store


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """MLflow's client on a store of its own with the same models."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db")
    run = client.create_run("0").info.run_id
    for name, (params, tags, points) in MODELS.items():
        model = client.create_logged_model("0", name=name, params=params or None, tags=tags or None)
        for key, value, step, dataset, digest in points:
            client.log_metric(
                run,
                key,
                value,
                timestamp=0,
                step=step,
                model_id=model.model_id,
                dataset_name=dataset or None,
                dataset_digest=digest or None,
            )
        time.sleep(0.002)  # MLflow orders by a time in ms
    return client


def names(page):
    return "".join(model.name for model in page.items)


@pytest.mark.parametrize(("filter_", "datasets", "expected"), FOUND)
def test_what_a_filter_finds(filled, filter_, datasets, expected):
    assert names(filled.search_logged_models(["0"], filter_, datasets)) == expected


@pytest.mark.parametrize(("filter_", "datasets", "expected"), FOUND)
def test_mlflow_finds_the_same(peer, filter_, datasets, expected):
    given = [{"dataset_name": name, **({"dataset_digest": digest} if digest else {})} for name, digest in datasets]
    found = peer.search_logged_models(["0"], filter_string=filter_ or None, datasets=given or None)
    assert "".join(model.name for model in found) == expected


@pytest.mark.parametrize(("order", "expected"), ORDERED)
def test_in_what_order(filled, order, expected):
    assert names(filled.search_logged_models(["0"], order_by=[LoggedModelOrder(*each) for each in order])) == expected


@pytest.mark.parametrize(("order", "expected"), [case for case in ORDERED if "`" not in case[0][0][0]])
def test_mlflow_has_the_same_order(peer, order, expected):
    given = [
        {"field_name": f, "ascending": a, **({"dataset_name": d} if d else {}), **({"dataset_digest": g} if g else {})}
        for f, a, d, g in order
    ]
    assert "".join(model.name for model in peer.search_logged_models(["0"], order_by=given)) == expected


def test_a_status_is_found_by_its_short_and_its_whole_name(filled):
    filled.finalize_logged_model("m-a", LoggedModelStatus.READY)
    assert names(filled.search_logged_models(["0"], "status = 'READY'")) == "a"
    assert names(filled.search_logged_models(["0"], "status = 'LOGGED_MODEL_PENDING'")) == "dcb"
    assert names(filled.search_logged_models(["0"], "status IN ('READY', 'UPLOAD_FAILED')")) == "a"
    assert names(filled.search_logged_models(["0"], "status LIKE '%FAILED'")) == ""


def test_nan_meets_no_condition_and_comes_after_the_numbers(filled):
    """MLflow keeps it as 0 here, and finds it as such."""
    assert names(filled.search_logged_models(["0"], "metrics.auc != 0.6")) == "ba"
    assert names(filled.search_logged_models(["0"], "metrics.auc = 0")) == ""
    assert names(filled.search_logged_models(["0"], order_by=[LoggedModelOrder("metrics.auc")])) == "bacd"


def test_only_the_experiments_that_are_named_are_looked_at(filled):
    other = filled.create_experiment("other")
    filled.create_logged_model(other, name="e")
    assert names(filled.search_logged_models([other])) == "e"
    assert names(filled.search_logged_models([other, "0", "999"])) == "edcba"
    assert filled.search_logged_models([]).items == []


@pytest.mark.parametrize(
    ("filter_", "message"),
    [
        ("foo.x = 1", r"type: 'foo'. Expected one of \['attributes', 'metrics', 'params', 'tags'\]"),
        ("name > 'a'", r"attributes.name: '>'. Expected one of \('=', '!=', 'LIKE', 'ILIKE', 'IN', 'NOT IN'\)"),
        ("name = 'a' OR name = 'b'", "Invalid filter string: .* Expected a list of comparisons separated by 'AND'"),
        ("foo = 'a'", "Invalid attribute key 'foo' specified"),
        ("dataset.name = 'a'", "Invalid entity type: 'dataset'"),
        ("metrics.auc = 'x'", "a number without quotes"),
    ],
)
def test_what_does_not_parse(store, filter_, message):
    with pytest.raises(InvalidFilterError, match=message):
        store.search_logged_models(["0"], filter_)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order_by": [LoggedModelOrder("params.depth")]}, "order by field name: params.depth. Only metrics are"),
        ({"order_by": [LoggedModelOrder("zz")]}, "Invalid order by field name: zz"),
        ({"datasets": [("", "x")]}, "`dataset_name` in the `datasets` clause must be specified"),
        ({"max_results": 0}, "It must be a positive integer"),
        ({"page_token": "xx"}, "Invalid page token"),
        ({"page_token": "a.b.c.d"}, "Experiment IDs in the page token do not match the requested experiment IDs"),
    ],
)
def test_what_cannot_be_asked(store, arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        store.search_logged_models(["0"], **arguments)


def test_a_token_belongs_to_its_search_and_says_in_what_another_differs(filled):
    token = filled.search_logged_models(["0"], max_results=1).next_token
    assert names(filled.search_logged_models(["0"], max_results=3, page_token=token)) == "cba"
    order = [LoggedModelOrder("name")]
    for experiments, arguments, message in (
        (["1"], {}, "Experiment IDs in the page token do not match the requested experiment IDs"),
        (["0"], {"filter": "name = 'a'"}, "Filter string in the page token does not match the requested filter string"),
        (["0"], {"datasets": [("d", "")]}, "Filter string in the page token does not match"),
        (["0"], {"order_by": order}, "Order by in the page token does not match the requested order by"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            filled.search_logged_models(experiments, page_token=token, **arguments)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([[], *[[LoggedModelOrder(*each) for each in order] for order, _ in ORDERED]]),
    st.sampled_from(["", "metrics.auc > 0.5", "params.depth LIKE '%'"]),
    st.integers(1, 3),
)
def test_pages_are_the_whole(filled, order, filter_, size):
    whole = filled.search_logged_models(["0"], filter_, order_by=order)
    found, token = "", None
    while True:
        page = filled.search_logged_models(["0"], filter_, order_by=order, max_results=size, page_token=token)
        found += names(page)
        token = page.next_token
        if token is None:
            break
        assert len(page.items) == size
    assert found == names(whole)
    assert whole.next_token is None


def test_conditions_and_order_by_a_metric_cost_no_square_of_the_number_of_models(filled):
    filled.database.write(lambda connection: _multiply(connection, 3000))

    def seconds(**arguments):
        spent = []
        for _ in range(3):
            began = time.perf_counter()
            assert len(filled.search_logged_models(["0"], **arguments).items) == 50
            spent.append(time.perf_counter() - began)
        return min(spent)

    allowed = 20 * seconds() + 0.05
    auc = LoggedModelOrder("metrics.auc", ascending=False)
    for arguments in (
        {"order_by": [auc]},
        {"order_by": [auc], "datasets": [("d", "")]},
        {"filter": "metrics.auc > 0.5"},
    ):
        assert seconds(**arguments) < allowed, arguments


def _multiply(connection, count):
    """Add models like the first one that is there."""
    model = dict(connection.execute(select(logged_models).order_by(logged_models.c.id)).mappings().first())
    points = select(logged_model_metrics).where(logged_model_metrics.c.model == model["id"])
    measured = [dict(row) for row in connection.execute(points).mappings()]
    numbers = range(1000, 1000 + count)
    connection.execute(logged_models.insert(), [{**model, "id": n, "model_id": f"m-{n}"} for n in numbers])
    connection.execute(logged_model_metrics.insert(), [{**row, "model": n} for n in numbers for row in measured])
