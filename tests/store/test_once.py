"""Calls under a key are done once, whole, and answered alike, on both databases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from prefect_ml.errors import AlreadyExistsError
from prefect_ml.store import once, open_store


@pytest.fixture
def keyed(backend, request):
    opened = open_store(request.getfixturevalue("sqlite_url" if backend == "sqlite" else "postgres_url"))
    yield opened
    assert opened.database.checked_out == 0
    opened.close()


def count(store):
    with store.database.read() as connection:
        return connection.execute(select(func.count()).select_from(once.calls)).scalar_one()


def test_a_key_gives_its_first_answer_again(keyed):
    def work():
        return 200, keyed.create_experiment("e").encode()

    assert keyed.once("k", work) == (200, b"1")
    assert keyed.once("k", work) == (200, b"1")
    with pytest.raises(AlreadyExistsError):
        keyed.once("other", work)
    assert count(keyed) == 1


def test_what_raises_is_undone_whole_and_may_be_sent_again(keyed):
    def work(fails):
        keyed.create_experiment("e")
        if fails:
            raise OSError("the machine fails")
        return 200, b""

    with pytest.raises(OSError, match="the machine fails"):
        keyed.once("k", lambda: work(fails=True))
    assert [each.name for each in keyed.search_experiments().items] == ["Default"]
    assert keyed.once("k", lambda: work(fails=False)) == (200, b"")
    assert keyed.get_experiment_by_name("e").experiment_id


def test_a_write_that_is_refused_within_takes_nothing_else_with_it(keyed):
    def work():
        keyed.create_run("0", run_id="r", tags={"kept": "1"})
        with pytest.raises(AlreadyExistsError):
            keyed.create_run("0", run_id="r", tags={"kept": "2"})
        keyed.log_batch("r", tags={"after": "1"})
        assert keyed.get_run("r").tags["after"] == "1", "reads see what was written before in the same call"
        return 409, b"refused"

    assert keyed.once("k", work) == (409, b"refused")
    run = keyed.get_run("r")
    assert (run.tags["kept"], run.tags["after"]) == ("1", "1")


def test_of_calls_with_one_key_at_a_time_one_is_done_and_all_are_answered(keyed):
    together = threading.Barrier(8)

    def ask(_):
        together.wait()
        return keyed.once("k", lambda: (200, keyed.create_run("0", name="n").run_id.encode()))

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(ask, range(8)))
    [(_, run_id)] = answers
    assert [run.run_id for run in keyed.search_runs(["0"]).items] == [run_id.decode()]


def test_old_answers_are_let_go(keyed, monkeypatch):
    for number in range(3):
        keyed.once(f"k{number}", lambda: (200, b""))
    assert count(keyed) == 3
    monkeypatch.setattr(once, "_KEPT", -1000)
    monkeypatch.setattr(once, "_SWEPT_EACH", -1)
    keyed.once("last", lambda: (200, b""))
    assert count(keyed) == 0
