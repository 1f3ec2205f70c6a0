"""SQLite, PostgreSQL and a server give the same answers to the same random operations."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples import examples
from prefect_ml.entities import (
    Dataset,
    DatasetInput,
    JournalSpan,
    LoggedModelOrder,
    LoggedModelStatus,
    Metric,
    ModelMetric,
    ModelOutput,
    RunBatch,
    RunEnd,
    RunStart,
    RunStatus,
    ViewType,
)
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

MODELS = st.sampled_from(["m-1", "m-2", "m-A", "x"])
NAMED = st.sampled_from(["", "d", "D", "é"])
POINTS = st.lists(
    st.builds(ModelMetric, MODELS, st.builds(Metric, KEYS, VALUES, TIMES, TIMES), NAMED, st.sampled_from(["", "1"])),
    max_size=3,
)
INPUTS = st.lists(
    st.builds(
        DatasetInput,
        st.builds(Dataset, NAMED, NAMED, st.just("local"), TEXTS),
        st.dictionaries(st.sampled_from(["k", "mlflow.data.context"]), TEXTS, max_size=2),
    ),
    max_size=2,
)
LOCATIONS = st.sampled_from([None, "", "/a", "s3://b/x/", "relative", "/a#b"])
MODEL_FILTERS = st.sampled_from(
    [
        "", "metrics.a > 0", "metrics.a != 1.5", "params.a = 'x'", "params.a IN ('x', '')", "tags.A ILIKE 'X%'",
        "tags.a NOT IN ('x')", "status = 'READY'", "name LIKE '%n%'", "model_id != 'm-1'", "source_run_id = 'r1'",
    ]
)  # fmt: skip
MODEL_ORDERS = st.lists(
    st.builds(LoggedModelOrder, st.sampled_from(["metrics.a", "name", "status", "model_id"]), st.booleans(), NAMED),
    max_size=2,
)

OPERATIONS_ON_MODELS = st.one_of(
    st.tuples(
        st.just("create_logged_model"),
        st.fixed_dictionaries(
            {
                "experiment_id": EXPERIMENTS,
                "model_id": MODELS,
                "name": st.sampled_from(["n", "N", "n/m", "é"]),
                "source_run_id": IDS,
                "params": PAIRS,
                "tags": PAIRS,
            }
        ),
    ),
    st.tuples(
        st.just("finalize_logged_model"),
        st.fixed_dictionaries({"model_id": MODELS, "status": st.sampled_from(LoggedModelStatus)}),
    ),
    st.tuples(st.just("delete_logged_model"), st.fixed_dictionaries({"model_id": MODELS})),
    st.tuples(st.just("set_logged_model_tags"), st.fixed_dictionaries({"model_id": MODELS, "tags": PAIRS})),
    st.tuples(st.just("delete_logged_model_tag"), st.fixed_dictionaries({"model_id": MODELS, "key": KEYS})),
    st.tuples(st.just("log_logged_model_params"), st.fixed_dictionaries({"model_id": MODELS, "params": PAIRS})),
    st.tuples(
        st.just("log_batch"), st.fixed_dictionaries({"run_id": IDS, "metrics": METRICS, "model_metrics": POINTS})
    ),
    st.tuples(
        st.just("log_inputs"),
        st.fixed_dictionaries({"run_id": IDS, "inputs": INPUTS, "models": st.lists(MODELS, max_size=2)}),
    ),
    st.tuples(
        st.just("log_outputs"),
        st.fixed_dictionaries({"run_id": IDS, "outputs": st.lists(st.builds(ModelOutput, MODELS, TIMES), max_size=2)}),
    ),
)
OPERATIONS = st.one_of(
    OPERATIONS_ON_MODELS,
    st.tuples(
        st.just("create_experiment"),
        st.fixed_dictionaries(
            {"name": st.sampled_from(["e1", "e2", " "]), "tags": PAIRS, "artifact_location": LOCATIONS}
        ),
    ),
    st.tuples(st.just("delete_experiment_tag"), st.fixed_dictionaries({"experiment_id": EXPERIMENTS, "key": KEYS})),
    st.tuples(st.just("append_to_tag"), st.fixed_dictionaries({"run_id": IDS, "key": KEYS, "value": TEXTS})),
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
    st.tuples(
        st.just("get_metric_history"), st.fixed_dictionaries({"run_id": IDS, "key": KEYS, "by_time": st.booleans()})
    ),
    st.tuples(
        st.just("sample_metric_histories"),
        st.fixed_dictionaries(
            {
                "run_ids": st.lists(IDS, max_size=3),
                "key": KEYS,
                "steps": st.just((0, 3)) | st.none(),
                "max_points": st.integers(1, 4),
            }
        ),
    ),
    st.tuples(
        st.just("search_logged_models"),
        st.fixed_dictionaries(
            {
                "experiment_ids": st.lists(EXPERIMENTS, max_size=3),
                "filter": MODEL_FILTERS,
                "datasets": st.lists(st.tuples(NAMED, st.sampled_from(["", "1"])), max_size=1),
                "order_by": MODEL_ORDERS,
                "max_results": st.sampled_from([1, 100]),
            }
        ),
    ),
    st.tuples(st.just("search_datasets"), st.fixed_dictionaries({"experiment_ids": st.lists(EXPERIMENTS, max_size=2)})),
    st.tuples(
        st.just("sample_metric_history"),
        st.fixed_dictionaries({"run_id": IDS, "key": KEYS, "max_points": st.integers(2, 4)}),
    ),
    st.tuples(st.just("get_experiment"), st.fixed_dictionaries({"experiment_id": EXPERIMENTS})),
)


@pytest.fixture
def stores(tmp_path, postgres_url, served_url):
    url, behind = served_url
    three = [open_store(f"sqlite:///{tmp_path / 'direct.db'}"), open_store(postgres_url), open_store(url)]
    three[-1].database = behind.database
    yield three
    for store in three:
        assert store.database.checked_out == 0
        store.close()


def empty(store):
    """Take everything out, and let experiments count from 1 again."""
    from sqlalchemy import text

    def work(connection):
        for table in (
            "logged_model_metrics",
            "logged_model_params",
            "logged_model_tags",
            "logged_models",
            "run_models",
            "input_tags",
            "inputs",
            "datasets",
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
        connection.execute(text("UPDATE logged_models SET creation_timestamp = 1000"))
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

    shown = re.sub(
        r"(creation_time(?:stamp)?|last_update_time|last_updated_timestamp|start_time)=1[0-9]{12}", r"\1=now", shown
    )
    return re.sub(r"'[a-z]+-[a-z]+-[0-9]{1,3}'", "'made-up'", re.sub(r"next_token='[^']*'", "next_token=some", shown))


@settings(
    max_examples=examples(30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operations=st.lists(OPERATIONS, min_size=6, max_size=25), questions=st.lists(QUESTIONS, min_size=2, max_size=6))
def test_databases_and_server_answer_alike(stores, operations, questions):
    for store in stores:
        empty(store)
    for operation, arguments in operations:
        here, *others = (answer(store, operation, arguments) for store in stores)
        assert others == [here, here], (operation, arguments)
    for store in stores:
        settle(store)
    for operation, arguments in questions:
        here, *others = (answer(store, operation, arguments) for store in stores)
        assert others == [here, here], (operation, arguments)
    for run in ("r1", "r2", "r3"):
        here, *others = (answer(store, "get_run", {"run_id": run}) for store in stores)
        assert others == [here, here], "\n".join([here, *others])
    for model in ("m-1", "m-2", "m-A"):
        here, *others = (answer(store, "get_logged_model", {"model_id": model}) for store in stores)
        assert others == [here, here], "\n".join([here, *others])
