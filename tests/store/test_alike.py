"""SQLite and PostgreSQL give the same answers to the same random operations."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ml.entities import JournalSpan, Metric, RunBatch, RunEnd, RunStart, RunStatus, ViewType
from prefect_ml.errors import PrefectMLError
from prefect_ml.store import open_store

IDS = st.sampled_from(["r1", "r2", "r3"])
EXPERIMENTS = st.sampled_from(["0", "1", "2", "9"])
KEYS = st.sampled_from(["a", "A", "b/c", "ä", "../x", ""])
TEXTS = st.one_of(st.sampled_from(["", "x", "X", "x%", "é", "É", "zz", "10", "9"]), st.text(max_size=5))
TIMES = st.integers(-2, 4)
VALUES = st.sampled_from([0.0, 1.5, -1.5, math.nan, math.inf, -math.inf, 0.1 + 0.2])
METRICS = st.lists(st.builds(Metric, KEYS, VALUES, TIMES, TIMES), max_size=6)
PAIRS = st.dictionaries(KEYS, TEXTS, max_size=3)
STARTS = st.builds(RunStart, st.sampled_from(["Default", "e1", ""]), TEXTS | st.none(), TEXTS, TIMES, PAIRS)
ENDS = st.builds(RunEnd, st.sampled_from(RunStatus), TIMES | st.none())
BATCHES = st.lists(
    st.builds(
        RunBatch, IDS, STARTS | st.none(), PAIRS, PAIRS | st.just({"mlflow.runName": "n"}), METRICS, ENDS | st.none()
    ),
    max_size=3,
)
SPANS = st.builds(JournalSpan, st.sampled_from(["j1", "j2"]), st.integers(0, 3), st.integers(0, 6))
KEYED = st.sampled_from(["metrics.a", "metrics.`b/c`", "params.a", "params.A", "tags.a", "run_name", "start_time"])
ORDERS = st.lists(st.builds("{} {}".format, KEYED, st.sampled_from(["ASC", "DESC"])), max_size=2)
FILTERS = st.sampled_from(
    [
        "", "metrics.a > 0", "metrics.a != 1.5", "metrics.`b/c` <= 0.30000000000000004", "params.a = 'x'",
        "params.a LIKE 'x%'", "params.A ILIKE 'X%'", "params.a != 'x'", "tags.a ILIKE 'é'", "tags.a LIKE '_'",
        "run_name LIKE '%'", "start_time > 0", "end_time <= 3", "status = 'FAILED'", "run_id IN ('r1', 'r3')",
    ]
)  # fmt: skip

OPERATIONS = st.one_of(
    st.tuples(st.just("create_experiment"), st.fixed_dictionaries({"name": st.sampled_from(["e1", "e2", " "])})),
    st.tuples(
        st.sampled_from(["delete_experiment", "restore_experiment"]),
        st.fixed_dictionaries({"experiment_id": EXPERIMENTS}),
    ),
    st.tuples(
        st.just("create_run"),
        st.fixed_dictionaries(
            {"experiment_id": EXPERIMENTS, "run_id": IDS, "name": TEXTS, "start_time": TIMES, "tags": PAIRS}
        ),
    ),
    st.tuples(
        st.just("log_batch"),
        st.fixed_dictionaries({"run_id": IDS, "metrics": METRICS, "params": PAIRS, "tags": PAIRS}),
    ),
    st.tuples(
        st.just("update_run"),
        st.fixed_dictionaries({"run_id": IDS, "status": st.sampled_from(RunStatus), "end_time": TIMES | st.none()}),
    ),
    st.tuples(st.sampled_from(["delete_run", "restore_run"]), st.fixed_dictionaries({"run_id": IDS})),
    st.tuples(st.just("delete_tag"), st.fixed_dictionaries({"run_id": IDS, "key": KEYS})),
    st.tuples(st.just("apply_journal"), st.fixed_dictionaries({"span": SPANS, "batches": BATCHES})),
)
QUESTIONS = st.one_of(
    st.tuples(
        st.just("search_runs"),
        st.fixed_dictionaries(
            {
                "experiment_ids": st.lists(EXPERIMENTS, max_size=3),
                "filter": FILTERS,
                "order_by": ORDERS,
                "view_type": st.sampled_from(ViewType),
                "max_results": st.sampled_from([1, 2, 100]),
            }
        ),
    ),
    st.tuples(st.just("get_metric_history"), st.fixed_dictionaries({"run_id": IDS, "key": KEYS})),
    st.tuples(
        st.just("sample_metric_history"),
        st.fixed_dictionaries({"run_id": IDS, "key": KEYS, "max_points": st.integers(2, 4)}),
    ),
    st.tuples(st.just("get_experiment"), st.fixed_dictionaries({"experiment_id": EXPERIMENTS})),
)


@pytest.fixture
def stores(tmp_path, postgres_url):
    pair = [open_store(f"sqlite:///{tmp_path / 'store.db'}"), open_store(postgres_url)]
    yield pair
    for store in pair:
        assert store.database.checked_out == 0
        store.close()


def empty(store):
    """Take everything out, and let experiments count from 1 again."""
    from sqlalchemy import text

    def work(connection):
        for table in (
            "journals",
            "latest_metrics",
            "metrics",
            "metric_keys",
            "tags",
            "params",
            "runs",
            "experiment_tags",
        ):
            connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608  the names above
        connection.execute(text("DELETE FROM experiments WHERE id > 0"))
        connection.execute(text("UPDATE experiments SET lifecycle_stage = 'active'"))
        if connection.dialect.name == "sqlite":
            connection.execute(text("DELETE FROM sqlite_sequence"))
        else:
            connection.execute(text("ALTER SEQUENCE experiments_id_seq RESTART"))

    store.database.write(work)


def settle(store):
    """Make what differs by chance the same: made-up names, and times of the clock."""
    from sqlalchemy import text

    def work(connection):
        connection.execute(text("UPDATE runs SET start_time = 1000 WHERE start_time > 1000"))
        connection.execute(text("UPDATE runs SET name = 'made-up' WHERE name LIKE '%-%-%'"))
        connection.execute(text("UPDATE tags SET value = 'made-up' WHERE value LIKE '%-%-%'"))

    store.database.write(work)


def answer(store, operation, arguments):
    """What a call gives or how it fails, without what differs by chance (made-up names, times of the clock)."""
    try:
        given = getattr(store, operation)(**arguments)
    except PrefectMLError as error:
        return type(error).__name__, str(error)
    return mask(repr(given))


def mask(shown):
    import re

    shown = re.sub(r"(creation_time|last_update_time|start_time)=1[0-9]{12}", r"\1=now", shown)
    return re.sub(r"'[a-z]+-[a-z]+-[0-9]{1,3}'", "'made-up'", re.sub(r"next_token='[^']*'", "next_token=some", shown))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(operations=st.lists(OPERATIONS, min_size=6, max_size=25), questions=st.lists(QUESTIONS, min_size=2, max_size=6))
def test_both_databases_answer_alike(stores, operations, questions):
    for store in stores:
        empty(store)
    for operation, arguments in operations:
        here, there = (answer(store, operation, arguments) for store in stores)
        assert here == there, (operation, arguments)
    for store in stores:
        settle(store)
    for operation, arguments in questions:
        here, there = (answer(store, operation, arguments) for store in stores)
        assert here == there, (operation, arguments)
    for run in ("r1", "r2", "r3"):
        here, there = (answer(store, "get_run", {"run_id": run}) for store in stores)
        assert here == there
