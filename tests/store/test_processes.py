"""Several real processes on one store: started together, killed, forked, delivering the same journal."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from prefect_ml.errors import NotFoundError
from prefect_ml.store import open_store


def start(code, *arguments):
    script = textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes):
    answers = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, answers, strict=True):
        assert process.returncode == 0, errors
    return [output.strip() for output, _ in answers]


def test_eight_processes_open_an_empty_store_together_and_log_a_run_each(empty_url, tmp_path):
    gate = tmp_path / "go"
    code = """
        import sys, time
        from pathlib import Path
        from prefect_ml.entities import Metric
        from prefect_ml.store import open as opening
        url, number, gate = sys.argv[1:]
        while not Path(gate).exists():
            time.sleep(0.005)
        store = opening.open_store(url)
        run = store.create_run("0", run_id=f"run{number}")
        store.log_batch(run.run_id, metrics=[Metric("m", float(number), 1)], params={"n": number})
        store.close()
    """
    processes = [start(code, empty_url, number, gate) for number in range(8)]
    time.sleep(1.5)
    gate.touch()
    finish(processes)
    store = open_store(empty_url)
    for number in range(8):
        run = store.get_run(f"run{number}")
        assert (run.metrics, run.params) == ({"m": float(number)}, {"n": str(number)})
    store.close()


def test_a_new_store_is_waited_for_while_somebody_else_holds_its_file(tmp_path):
    path = tmp_path / "store.db"

    def opened():
        with contextlib.closing(open_store(f"sqlite:///{path}")) as store:
            return store.create_experiment("e")

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor(1) as pool:
        # As a process does that makes the schema: others may read, and SQLite changes the file's mode for none of them.
        other.execute("BEGIN IMMEDIATE")
        waiting = pool.submit(opened)
        time.sleep(0.5)
        assert not waiting.done()
        other.execute("ROLLBACK")
        assert waiting.result(30)


def test_a_killed_process_leaves_what_it_acknowledged_and_no_half_batch(empty_url):
    code = """
        import itertools, sys
        from prefect_ml.entities import Metric
        from prefect_ml.store import open_store
        store = open_store(sys.argv[1])
        store.create_run("0", run_id="r1")
        for batch in itertools.count():
            points = [Metric(f"m{i}", float(batch), batch, batch) for i in range(50)]
            store.log_batch("r1", metrics=points, params={f"p{batch}": "1"})
            print(batch, flush=True)
    """
    process = start(code, empty_url)
    acknowledged = -1
    while acknowledged < 20:
        acknowledged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = process.communicate(timeout=60)[0].split()
    acknowledged = int(rest[-1]) if rest else acknowledged
    store = open_store(empty_url)
    counts = {len(store.get_metric_history("r1", f"m{i}").items) for i in range(50)}
    run = store.get_run("r1")
    assert counts == {len(run.params)}
    assert len(run.params) in (acknowledged + 1, acknowledged + 2)
    store.log_batch("r1", params={"after": "1"})
    store.close()


def test_two_processes_that_deliver_the_same_journal_apply_it_once(empty_url):
    open_store(empty_url).close()
    code = """
        import sys
        from prefect_ml.entities import JournalSpan, Metric, RunBatch
        from prefect_ml.errors import JournalOffsetError
        from prefect_ml.store import open_store
        store = open_store(sys.argv[1])
        position = applied = 0
        while position < 300:
            batch = RunBatch("r1", metrics=[Metric("m", 1.0, position)], tags={"by": sys.argv[2]})
            try:
                store.apply_journal(JournalSpan("j", position, position + 10), [batch])
                position += 10
            except JournalOffsetError as error:
                position = error.expected
        store.close()
    """
    finish([start(code, empty_url, number) for number in range(2)])
    store = open_store(empty_url)
    points = store.get_metric_history("r1", "m").items
    assert [point.timestamp for point in points] == list(range(0, 300, 10))
    assert store.journal_offset("j") == 300
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_uses_the_store_it_inherited(empty_url):
    code = """
        import os, sys
        from prefect_ml.store import open_store
        store = open_store(sys.argv[1])
        store.create_run("0", run_id="parent")
        child = os.fork()
        if child == 0:
            store.create_run("0", run_id="child")
            assert store.get_run("parent").run_id == "parent"
            open_store(sys.argv[1]).create_run("0", run_id="child2")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        store.create_run("0", run_id="after")
        assert store.get_run("child2").run_id == "child2"
        store.close()
    """
    finish([start(code, empty_url)])
    store = open_store(empty_url)
    for run in ("parent", "child", "child2", "after"):
        assert store.get_run(run).run_id == run
    store.close()


def test_a_write_waits_for_another_process_that_holds_the_lock(tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = open_store(url)
    code = """
        import sqlite3, sys, time
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        print("locked", flush=True)
        time.sleep(1.5)
        connection.execute("COMMIT")
    """
    process = start(code, tmp_path / "store.db")
    assert process.stdout.readline().strip() == "locked"
    with pytest.raises(NotFoundError):
        store.get_run("reading does not wait")
    assert process.poll() is None
    began = time.monotonic()
    store.create_run("0", run_id="r1")
    assert time.monotonic() - began > 0.5
    finish([process])
    store.close()
