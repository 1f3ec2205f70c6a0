"""Which tasks of a run recorded a name."""

from __future__ import annotations

import pytest

from prefect_ml.entities import JournalSpan, Recorded, RunBatch, Source
from prefect_ml.errors import NotFoundError

FIRST, SECOND = Source("a", 1, 100, "fit:1", 0, "t1"), Source("b", 2, 200, "fit:1", 0, "t2")
RETRY, OTHER = FIRST._replace(retry=1), Source("a", 1, 100, "score:1", 0, "t3")


def record(store, run_id, *recorded):
    batch = RunBatch(run_id, recorded=[Recorded(source, (), names) for source, names in recorded])
    offset = store.journal_offset(run_id)
    assert store.apply_journal(JournalSpan(run_id, offset, offset + 8), [batch]) == []


def test_they_come_in_the_order_of_execution(store):
    record(store, "r", (SECOND, {"model": ["model"]}), (RETRY, {"model": ["model"]}))
    record(store, "r", (OTHER, {"metric": ["model"]}), (FIRST, {"model": ["model", "other"]}))
    record(store, "s", (OTHER, {"model": ["model"]}))
    assert store.recorders("r", "model", "model") == [FIRST, RETRY, SECOND]
    assert store.recorders("r", "model", "other") == [FIRST]
    assert store.recorders("r", "metric", "model") == [OTHER]


def test_a_name_that_no_task_recorded_has_none(store):
    run = store.create_run("0")
    assert store.recorders(run.run_id, "model", "model") == []
    record(store, run.run_id, (Source("a", 1, 100), {"model": ["model"]}))
    assert store.recorders(run.run_id, "model", "model") == []
    with pytest.raises(NotFoundError):
        store.recorders("unknown", "model", "model")
