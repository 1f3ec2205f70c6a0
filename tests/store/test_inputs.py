"""Which data sets runs used: kept, found by, and the same again changes nothing."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from prefect_ml.entities import Dataset, DatasetInput, JournalSpan, RunBatch
from prefect_ml.errors import InactiveError, InvalidFilterError, InvalidInputError, InvalidNameError, NotFoundError
from prefect_ml.store.input_tables import datasets, input_tags, inputs
from prefect_ml.store.tables import params, runs

CONTEXT = "mlflow.data.context"
CHURN = Dataset("churn", "aaaa", "s3", '{"uri": "s3://b/churn.parquet"}', '{"mlflow_colspec": []}', '{"num_rows": 3}')


def used(dataset=CHURN, context="training", **tags):
    return DatasetInput(dataset, {CONTEXT: context, **tags})


def named(name, digest="d", **fields):
    return Dataset(name, digest, fields.pop("source_type", "local"), "{}", **fields)


def counts(store):
    with store.database.read() as connection:
        tables = (datasets, inputs, input_tags)
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


@pytest.fixture
def run(store):
    return store.create_run("0").run_id


def test_a_run_tells_what_it_used(store, run):
    assert list(store.get_run(run).inputs) == []
    store.log_inputs(run, [used(team="risk"), used(named("other"), "evaluation")])
    expected = [used(team="risk"), used(named("other"), "evaluation")]
    assert list(store.get_run(run).inputs) == expected
    assert list(store.search_runs(["0"]).items[0].inputs) == expected


def test_the_same_again_changes_nothing(store, run):
    store.log_inputs(run, [used()])
    before = store.get_run(run), counts(store)
    store.log_inputs(run, [used(), used()])
    assert (store.get_run(run), counts(store)) == before


def test_of_two_the_first_ones_facts_and_tags_stay(store, run):
    moved = Dataset("churn", "aaaa", "local", '{"uri": "/data/churn.parquet"}')
    store.log_inputs(run, [used(team="risk"), used(moved, "evaluation", by="ann")])
    store.log_inputs(run, [used(moved, by="bob"), used(named("other"))])
    assert list(store.get_run(run).inputs) == [used(team="risk"), used(named("other"))]


def test_of_two_in_journals_the_later_ones_facts_and_tags_stay(store, run):
    moved = Dataset("churn", "aaaa", "local", '{"uri": "/data/churn.parquet"}')
    store.log_inputs(run, [used(team="risk")])
    store.apply_journal(JournalSpan("j", 0, 8), [RunBatch(run, inputs=[used(moved, "evaluation", by="ann")])])
    assert list(store.get_run(run).inputs) == [used(moved, "evaluation", team="risk", by="ann")]


def test_runs_share_what_they_say_alike_and_keep_their_own_sources(store):
    moved = Dataset("churn", "aaaa", "local", '{"uri": "/data/churn.parquet"}')
    runs = [store.create_run("0").run_id for _ in range(3)]
    for each, dataset in zip(runs, (CHURN, CHURN, moved), strict=True):
        store.log_inputs(each, [used(dataset)])
    assert [store.get_run(each).inputs[0].dataset for each in runs] == [CHURN, CHURN, moved]
    assert counts(store) == [2, 3, 3]


def test_more_than_a_statement_takes_at_once(store, run):
    given = [used(named(f"n{number:04}"), k=str(number)) for number in range(1500)]
    store.log_inputs(run, given)
    assert list(store.get_run(run).inputs) == given


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (used(named("")), InvalidNameError, "name of a data set is empty"),
        (used(named("n", "")), InvalidNameError, "digest of a data set is empty"),
        (used(named("n", "d" * 37)), InvalidInputError, "at most 36 characters, got 37"),
        (used(named("n" * 501)), InvalidInputError, "at most 500 characters"),
        (used(named("n", source_type="t" * 37)), InvalidInputError, "source type of a data set has at most 36"),
        (used(named("n", schema="s" * 1_048_576)), InvalidInputError, "schema of a data set has at most"),
        (used(named("n", profile="s" * 16_777_216)), InvalidInputError, "profile of a data set has at most"),
        (used(named("n\x00")), InvalidInputError, "NUL character"),
        (used(named("n", profile="\ud800")), InvalidInputError, "no valid Unicode"),
        (DatasetInput(CHURN, {"": "x"}), InvalidNameError, "1 to 255 characters, got 0"),
        (DatasetInput(CHURN, {"k": 1}), InvalidInputError, "must be a string"),
    ],
)
def test_what_no_store_takes_is_refused_whole(store, run, given, error, message):
    with pytest.raises(error, match=message):
        store.log_inputs(run, [used(), given])
    assert counts(store) == [0, 0, 0]


def test_a_run_that_is_deleted_or_unknown_takes_none(store, run):
    store.delete_run(run)
    with pytest.raises(InactiveError, match="Restore it first"):
        store.log_inputs(run, [used()])
    with pytest.raises(NotFoundError, match="not found"):
        store.log_inputs("nobody", [used()])
    assert counts(store) == [0, 0, 0]


def test_a_journal_brings_inputs_once_and_what_is_wrong_is_told(store):
    span, long = JournalSpan("j", 0, 8), used(named("n" * 501))
    batch = RunBatch("r", params={"c": "1"}, inputs=[used(), long, used(named("b"), "evaluation")])
    [refusal] = store.apply_journal(span, [batch])
    assert (refusal.what[:12], "at most 500" in refusal.reason) == ("data set 'nn", True)
    assert store.apply_journal(span, [batch]) == []
    run = store.get_run("r")
    assert (run.params, list(run.inputs)) == ({"c": "1"}, [used(named("b"), "evaluation"), used()])


@pytest.fixture
def filled(store):
    for number, name in enumerate("abcd"):
        store.create_run("0", run_id=name, start_time=-number)
    store.log_inputs("a", [used(), used(named("other", "bb"), "evaluation")])
    store.log_inputs("b", [used(named("Churn", "ab"))])
    store.log_inputs("c", [DatasetInput(named("churn", "cc"), {"team": "training"})])
    return store


CASES = [
    ("dataset.name = 'churn'", "ac"),
    ("datasets.name = 'churn'", "ac"),
    ("dataset.name != 'churn'", "ab"),
    ("dataset.name LIKE 'churn%'", "ac"),
    ("dataset.name ILIKE 'CHURN'", "abc"),
    ("dataset.name IN ('other', 'Churn')", "ab"),
    ("dataset.name NOT IN ('churn', 'other')", "b"),
    ("datasets.digest LIKE 'a%'", "ab"),
    ("dataset.digest = 'cc'", "c"),
    ("dataset.context = 'training'", "ab"),
    ("dataset.context != 'training'", "a"),
    ("dataset.context IN ('evaluation', 'testing')", "a"),
    ("dataset.context ILIKE 'TRAIN%'", "ab"),
    ("dataset.name = 'other' AND dataset.context = 'training'", "a"),
    ("dataset.name = 'churn' and attributes.status = 'FINISHED'", ""),
]


@pytest.mark.parametrize(("filter_", "expected"), CASES)
def test_a_filter_finds_runs_by_what_they_used(filled, filter_, expected):
    assert "".join(run.run_id for run in filled.search_runs(["0"], filter_).items) == expected


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """MLflow's client on a store of its own with the runs of `filled`, and their names there."""
    import mlflow
    from mlflow.entities import Dataset as Theirs
    from mlflow.entities import DatasetInput as Used
    from mlflow.entities import InputTag

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db")
    used_by = {
        "a": [("churn", "aaaa", CONTEXT, "training"), ("other", "bb", CONTEXT, "evaluation")],
        "b": [("Churn", "ab", CONTEXT, "training")],
        "c": [("churn", "cc", "team", "training")],
        "d": [],
    }
    ids = {}
    for number, (name, entries) in enumerate(used_by.items()):
        run = client.create_run("0", start_time=100 - number)
        ids[run.info.run_id] = name
        for title, digest, key, value in entries:
            client.log_inputs(run.info.run_id, [Used(Theirs(title, digest, "local", "{}"), [InputTag(key, value)])])
    return ids, client


@pytest.mark.parametrize(("filter_", "expected"), CASES)
def test_mlflow_finds_the_same(peer, filter_, expected):
    ids, client = peer
    found = client.search_runs(["0"], filter_, order_by=["start_time DESC"])
    assert "".join(ids[run.info.run_id] for run in found) == expected


@pytest.mark.parametrize(
    ("filter_", "message"),
    [
        ("dataset.schema = 'x'", "Invalid dataset key 'schema' specified. Valid keys are"),
        ("dataset.name > 'x'", "Invalid comparison operator for datasets.name"),
        ("dataset.name = 5", "either not quoted"),
    ],
)
def test_what_cannot_be_asked_of_a_data_set(store, filter_, message):
    with pytest.raises(InvalidFilterError, match=message):
        store.search_runs(["0"], filter_)


def test_runs_are_not_ordered_by_data_sets(store):
    with pytest.raises(InvalidFilterError, match="an attribute, metric, param or tag to order by"):
        store.search_runs(["0"], order_by=["dataset.name ASC"])


NAMES = st.sampled_from("xyz")
GIVEN = st.lists(
    st.builds(
        DatasetInput,
        st.builds(Dataset, NAMES, NAMES, st.just("local"), st.text("{}ä", max_size=2), NAMES, st.just("")),
        st.dictionaries(st.sampled_from(["k", CONTEXT]), NAMES, max_size=2),
    ),
    max_size=5,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(GIVEN, max_size=3), st.booleans())
def test_any_inputs_leave_what_was_said_first_or_in_journals_last(store, calls, by_journal):
    run = store.create_run("0").run_id
    expected: dict[tuple[str, str], DatasetInput] = {}
    for number, call in enumerate(calls):
        if by_journal:
            store.apply_journal(JournalSpan(f"{run}{number}", 0, 8), [RunBatch(run, inputs=call)])
        else:
            store.log_inputs(run, call)
        for each in call:
            named = (each.dataset.name, each.dataset.digest)
            known = expected.get(named)
            if known is None or by_journal:
                expected[named] = DatasetInput(each.dataset, {**(known.tags if known else {}), **each.tags})
    assert list(store.get_run(run).inputs) == [expected[each] for each in sorted(expected)]


def test_a_filter_that_finds_nothing_costs_what_one_of_params_costs(store, run):
    """Not the square of the number of runs."""
    store.log_batch(run, params={"p": "x"})
    store.log_inputs(run, [used(named("n", "d"))])
    store.database.write(lambda connection: _multiply(connection, 3000))

    def seconds(text):
        spent = []
        for _ in range(3):
            began = time.perf_counter()
            assert store.search_runs(["0"], text).items == []
            spent.append(time.perf_counter() - began)
        return min(spent)

    allowed = 20 * seconds("params.p LIKE 'no%'") + 0.02
    for filter_ in ("dataset.context LIKE 'no%'", "dataset.name LIKE 'no%'", "dataset.digest != 'd'"):
        assert seconds(filter_) < allowed, filter_


def _multiply(connection, count):
    """Add runs like the one that is there."""
    for table, changes in (
        (runs, lambda n: {"id": n, "run_id": f"r{n}"}),
        (params, lambda n: {"run": n}),
        (inputs, lambda n: {"id": n, "run": n}),
        (input_tags, lambda n: {"input": n}),
    ):
        row = dict(connection.execute(select(table)).mappings().one())
        connection.execute(table.insert(), [{**row, **changes(number)} for number in range(1000, 1000 + count)])
