"""A journal cut at every byte, and with every bit of its records flipped: the store gets what is whole before that."""

from __future__ import annotations

import orjson
import pytest

import prefect_ml as ml
from prefect_ml.entities import Attempt, RunEnd, RunStart, RunStatus
from prefect_ml.errors import NotFoundError
from prefect_ml.tracking import records
from prefect_ml.tracking.frames import MAGIC, PAGE, frame
from prefect_ml.tracking.sync import sync_journals

pytestmark = pytest.mark.long
METRICS = 3
# What the journal of a run holds in order, and what the store has of a run after so many of these.
AFTER_START, AFTER_PARAM, AFTER_METRICS, AFTER_END = 1, 2, 2 + METRICS, 3 + METRICS


def contents(run_id):
    """The records of a run that ended well."""
    attempt = Attempt(run_id, f"attempt-{run_id}", 1, 5, host="h", pid=1)
    return [
        records.start_record(RunStart("damage", run_id, "me", 5, {}, attempt)),
        records.params_record({"c": "1"}),
        *(records.metrics_record({"loss": n / 7}, n, n) for n in range(METRICS)),
        records.end_record(RunEnd(RunStatus.FINISHED, 9, attempt.attempt_id, 1)),
    ]


def journal(run_id):
    """The bytes of its journal, and where each of its frames ends, that of the header first."""
    header = orjson.dumps({"run_id": run_id, "journal_id": f"j{run_id}", "store": ""})
    data, ends = MAGIC, []
    for payload in (header, *contents(run_id)):
        data += b"".join(frame(payload))
        ends.append(len(data))
    return data + bytes(-len(data) % PAGE), ends


def whole_before(ends, at):
    """How many records come to their end before an offset; None when the header does not."""
    return sum(end <= at for end in ends[1:]) if ends[0] <= at else None


def check(store, run_id, count, report, folder):
    """What the store has of a run of which so many records were whole."""
    assert report.finished
    if count is None or count < AFTER_START:
        with pytest.raises(NotFoundError):
            store.get_run(run_id)
    else:
        run = store.get_run(run_id)
        assert run.params == ({"c": "1"} if count >= AFTER_PARAM else {})
        points = [(point.step, point.value) for point in store.get_metric_history(run_id, "loss").items]
        assert points == [(n, n / 7) for n in range(min(count, AFTER_METRICS) - AFTER_PARAM)]
        assert run.status is (RunStatus.FINISHED if count >= AFTER_END else RunStatus.KILLED)
        [attempt] = store.get_attempts(run_id)
        assert attempt.outcome is run.status
    assert report.bad_bytes > 0
    assert [path.suffix for path in folder.iterdir()] == [".damaged"], "a person may look at it"


def delivered(home, damaged):
    """Have all journals delivered at once; the report of each run."""
    for run_id, data in damaged.items():
        folder = home / "journal" / run_id
        folder.mkdir(parents=True)
        (folder / f"j{run_id}.journal").write_bytes(data)
    store = ml.open_store()
    reports = {report.journal_id.removeprefix("j"): report for report in sync_journals(store)}
    assert sync_journals(store) == []
    return store, reports


def test_cut_at_every_byte(home):
    damaged, counts = {}, {}
    for size in range(1, journal("0" * 32)[1][-1] + 8):
        run_id = f"{size:032x}"
        data, ends = journal(run_id)
        damaged[run_id], counts[run_id] = data[:size], whole_before(ends, size)
    store, reports = delivered(home, damaged)
    for run_id, count in counts.items():
        check(store, run_id, count, reports[run_id], home / "journal" / run_id)
    store.close()


def test_every_bit_flipped(home):
    damaged, counts = {}, {}
    for bit in range(8 * journal("0" * 32)[1][-1]):
        run_id = f"{bit:032x}"
        data, ends = journal(run_id)
        spoiled = bytearray(data)
        spoiled[bit // 8] ^= 1 << bit % 8
        damaged[run_id], counts[run_id] = bytes(spoiled), whole_before(ends, bit // 8)
    store, reports = delivered(home, damaged)
    for run_id, count in counts.items():
        check(store, run_id, count, reports[run_id], home / "journal" / run_id)
    store.close()
