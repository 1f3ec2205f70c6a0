"""From journal to store: once, whatever dies, and in its own time when the store is away."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
import uuid
from urllib.parse import urlsplit

import pytest

import prefect_ml as ml
from prefect_ml.entities import RunStart, RunStatus, Source
from prefect_ml.settings import Settings
from prefect_ml.tracking.journal import JournalWriter
from prefect_ml.tracking.outbox import REJECTED_TAG, Outbox, deliver_folder
from prefect_ml.tracking.outlet import outlet_of
from prefect_ml.tracking.place import place_of
from prefect_ml.tracking.records import metrics_record, source_record, start_record
from prefect_ml.tracking.run import ActiveRun
from prefect_ml.tracking.sync import sync_journals

TRAINING = """
import os, sys
import prefect_ml as ml
with ml.start_run("killed") as run:
    os.write(1, (run.run_id + "\\n").encode())
    for n in range(1_000_000):
        run.log_metric("loss", n, step=n, timestamp=n)
        if n % 10 == 0:
            os.write(1, b"%d\\n" % n)
"""


def steps(run_id: str) -> list[int]:
    return [point.step for point in ml.get_metric_history(run_id, "loss")]


def test_killed_at_random_moments_nothing_acknowledged_is_lost_or_doubled(start, home):
    rng = random.Random(20261124)  # noqa: S311 - moments to kill at
    began = time.monotonic()
    kills = 0
    while kills < 20 and time.monotonic() - began < 25:
        process = start(TRAINING)
        run_id = process.stdout.readline().strip()
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        acknowledged = [int(line) for line in process.stdout.read().split("\n")[:-1]]
        process.wait()
        reports = sync_journals(ml.open_store())
        assert all(report.finished for report in reports)
        found = steps(run_id)
        assert found == list(range(len(found)))
        assert len(found) > (acknowledged[-1] if acknowledged else -1)
        assert ml.get_run(run_id).status is RunStatus.KILLED
        assert sync_journals(ml.open_store()) == []
        kills += 1
    assert kills >= 5
    assert not list(home.glob("journal/*/*.journal"))


def test_eight_processes_log_to_one_run(start, home):
    worker = """
import os, sys
from prefect_ml.tracking.place import place_of
from prefect_ml.tracking.records import metrics_record
from prefect_ml.tracking.run import ActiveRun
run, number = ActiveRun(sys.argv[1]), int(sys.argv[2])
for n in range(500):
    run.log_metric("loss", number, step=number * 500 + n)
run.log_param(f"worker_{number}", number)
os._exit(0)
"""
    with ml.start_run("shared") as run:
        processes = [start(worker, run.run_id, str(number)) for number in range(8)]
        assert [process.wait() for process in processes] == [0] * 8
    assert steps(run.run_id) == list(range(4000))
    found = ml.get_run(run.run_id)
    assert found.params == {f"worker_{n}": str(n) for n in range(8)}
    assert found.status is RunStatus.FINISHED
    assert not list(home.glob("journal/*/*.journal"))


def test_a_child_that_outlives_the_run_is_delivered_too(start):
    worker = """
import os, sys
from prefect_ml.tracking.place import place_of
from prefect_ml.tracking.records import metrics_record
from prefect_ml.tracking.run import ActiveRun
run = ActiveRun(sys.argv[1])
run.log_metric("loss", 1, step=1)
os.write(1, b"logged\\n")
sys.stdin.readline() if False else __import__("time").sleep(1)
run.log_metric("loss", 2, step=2)
os._exit(0)
"""
    with ml.start_run("outlived") as run:
        process = start(worker, run.run_id)
        assert process.stdout.readline() == "logged\n"
    assert 1 in steps(run.run_id)
    process.wait()
    deadline = time.monotonic() + 5
    while steps(run.run_id) != [1, 2] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert steps(run.run_id) == [1, 2]


def test_a_forked_child_logs_to_its_own_journal(home):
    import os

    with ml.start_run("forked") as run:
        run.log_metric("loss", 0, step=0)
        child = os.fork()
        if child == 0:
            run.log_metric("loss", 1, step=1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(list(home.glob("journal/*/*.journal"))) == 2
        run.log_metric("loss", 2, step=2)
    assert steps(run.run_id) == [0, 1, 2]


@pytest.mark.parametrize(
    ("ending", "status", "code"),
    [
        ("raise ValueError('x')", RunStatus.FAILED, 1),
        ("raise KeyboardInterrupt", RunStatus.KILLED, None),
        ("os.kill(os.getpid(), signal.SIGTERM)", RunStatus.KILLED, 143),
        ("sys.exit(3)", RunStatus.FAILED, 3),
        ("sys.exit()", RunStatus.FINISHED, 0),
        ("pass", RunStatus.FINISHED, 0),
    ],
)
def test_how_a_script_ends_is_how_its_run_ends(start, ending, status, code):
    script = f"""
import os, signal, sys
import prefect_ml as ml
with ml.start_run("endings") as run:
    print(run.run_id, flush=True)
    ml.log_metric("loss", 1)
    {ending}
"""
    process = start(script)
    run_id = process.stdout.readline().strip()
    process.wait()
    assert code is None or process.returncode == code
    run = ml.get_run(run_id)
    assert (run.status, run.metrics) == (status, {"loss": 1.0})


def test_a_run_left_open_by_a_process_that_ends_well_is_delivered_and_stays_running(start, home):
    script = """
import prefect_ml as ml
from prefect_ml.tracking.start import begin
run = begin("f" * 32, "open", None, parent=None, tags=None)
run.log_metric("loss", 1)
"""
    process = start(script)
    assert process.wait() == 0, process.stderr.read()
    run = ml.get_run("f" * 32)
    assert (run.status, run.metrics) == (RunStatus.RUNNING, {"loss": 1.0})
    assert not list(home.glob("journal/*"))


def test_a_conflict_between_processes_is_reported_and_named_on_the_run(start, caplog):
    with caplog.at_level(logging.WARNING), ml.start_run("conflict") as run:
        run.log_param("c", 1)
        run.flush()
        script = "import sys\nfrom prefect_ml.tracking.run import ActiveRun\n"
        script += "run = ActiveRun(sys.argv[1])\nrun.log_param('c', 2)\nrun.log_param('d', 3)\n"
        script += "import os\nos._exit(0)"
        assert start(script, run.run_id).wait() == 0
    found = ml.get_run(run.run_id)
    assert found.params == {"c": "1", "d": "3"}
    assert "c" in found.tags[REJECTED_TAG]
    assert "was refused" in caplog.text


def test_sqlite_away_during_logging(home, monkeypatch, caplog):
    home.mkdir(parents=True)
    blocker = home / "away"
    blocker.write_text("a file where the store's folder should be")
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{blocker}/store.db")
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "0.5")
    with caplog.at_level(logging.WARNING), ml.start_run("away") as run:
        for n in range(100):
            run.log_metric("loss", n, step=n)
        deadline = time.monotonic() + 20
        while "The store is away" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)  # for a second one to come
    assert caplog.text.count("The store is away") == 1
    blocker.unlink()
    assert run.flush(20)
    assert steps(run.run_id) == list(range(100))
    assert ml.get_run(run.run_id).status is RunStatus.FINISHED


def test_a_console_whose_reader_is_gone_does_not_end_the_delivery(start, home, tmp_path, monkeypatch):
    """A worker that reads the output of its flow may die before it; rich then raises SystemExit where it prints."""
    home.mkdir(parents=True)
    blocker = home / "away"
    blocker.write_text("a file where the store's folder should be")
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{blocker}/store.db")
    process = start("""
import logging, os, pathlib, sys, time
from rich.console import Console
from rich.logging import RichHandler
import prefect_ml as ml
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 2)
logging.getLogger().addHandler(RichHandler(console=Console(stderr=True)))
with ml.start_run("outlives") as run:
    run.log_metric("loss", 1)
    time.sleep(1.5)  # the delivery says that the store is away
    os.unlink(os.environ["PREFECT_ML_STORE_URL"].removeprefix("sqlite:///").removesuffix("/store.db"))
    pathlib.Path(sys.argv[1]).write_text(f"{run.run_id} {run.flush(20)}")
""", str(tmp_path / "told"))  # fmt: skip
    assert process.wait(60) == 0
    run_id, flushed = (tmp_path / "told").read_text().split()
    assert flushed == "True"
    assert ml.get_run(run_id).status is RunStatus.FINISHED


def test_postgres_away_during_logging(postgres_url, postgres_server, monkeypatch, caplog):
    import psycopg

    database = urlsplit(postgres_url).path.removeprefix("/")
    monkeypatch.setenv("PREFECT_ML_STORE_URL", postgres_url)
    with caplog.at_level(logging.WARNING), ml.start_run("away") as run:
        run.log_metric("loss", 0, step=0)
        assert run.flush()
        with psycopg.connect(postgres_server, autocommit=True) as admin:
            admin.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
            try:
                for n in range(1, 100):
                    run.log_metric("loss", n, step=n)
                assert run.flush(2, patient=False) is False
            finally:
                admin.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
    assert steps(run.run_id) == list(range(100))
    assert ml.get_run(run.run_id).status is RunStatus.FINISHED
    assert "The store is away" in caplog.text
    ml.open_store().close()


def test_a_store_that_stays_away_is_asked_less_and_less_once_nobody_waits_for_it(start, monkeypatch):
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return
                asked.append(time.monotonic())

        threading.Thread(target=hang_up, daemon=True).start()
        monkeypatch.setenv("PREFECT_ML_STORE_URL", f"postgresql://me@127.0.0.1:{listener.getsockname()[1]}/ml")
        monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "0.2")
        process = start("""
import sys
import prefect_ml as ml
with ml.start_run("away") as run:
    run.log_metric("loss", 1)
    print(run.flush(5, patient=False), flush=True)
    sys.stdin.readline()
""")  # fmt: skip
        assert process.stdout.readline() == "False\n"
        asked.clear()
        time.sleep(2)
        count = len(asked)
        process.communicate("\n", timeout=60)
        listener.shutdown(socket.SHUT_RDWR)
    assert 0 < count < 12  # forty, were it asked after each flush interval


def test_a_store_that_is_away_keeps_no_other_from_being_delivered_to(start, home, monkeypatch):
    script = """
import os
import prefect_ml as ml
from prefect_ml.tracking.run import ActiveRun
os.environ["PREFECT_ML_STORE_URL"] = "postgresql://me@127.0.0.1:1/ml"
ActiveRun("a" * 32).log_metric("loss", 1)
del os.environ["PREFECT_ML_STORE_URL"]
ActiveRun("b" * 32).log_metric("loss", 1, step=7)
print([point.step for point in ml.get_metric_history("b" * 32, "loss")], flush=True)
os._exit(0)
"""
    process = start(script)
    assert process.communicate(timeout=60)[0] == "[7]\n"


def test_a_round_of_delivery_ends_though_records_keep_coming(home):
    store = ml.open_store()
    writer = JournalWriter(home / "journal" / ("a" * 32), "a" * 32)
    outbox = Outbox(writer.path, start=0)

    class Busy:
        """A store during whose every call another record comes."""

        calls = 0

        def __getattr__(self, name):
            return getattr(store, name)

        def apply_journal(self, span, batches):
            self.calls += 1
            assert self.calls < 100, "the round does not end"
            writer.append(metrics_record({"loss": 1.0}, self.calls, self.calls, None))
            return store.apply_journal(span, batches)

    writer.append(metrics_record({"loss": 1.0}, 0, 0, None))
    busy = Busy()
    assert outbox.deliver(busy, writer.end) == 1
    assert busy.calls == 1
    outbox.close()
    writer.close()
    store.close()


def test_what_a_living_process_records_all_the_time_is_delivered_in_a_time_that_ends(home):
    store = ml.open_store()
    writer = JournalWriter(home / "journal", "a" * 32)
    record = metrics_record({"loss" * 1000: 1.0}, 0, 0, None)

    class Busy:
        """A store during whose every call another record comes."""

        calls = 0

        def __getattr__(self, name):
            return getattr(store, name)

        def apply_journal(self, *_):
            self.calls += 1
            assert self.calls < 100, "the delivery does not end"
            writer.append(record)
            return []

    writer.append(record)
    [report] = deliver_folder(Busy(), writer.path.parent)
    assert not report.finished
    assert 1 <= report.records < 100
    writer.remove()
    store.close()


def test_a_job_that_fails_takes_no_other_with_it():
    with ml.start_run("jobs") as run:
        run.log_metric("loss", 1)
        assert run.flush()
        delivery = outlet_of(run.run_id).delivery
        done = threading.Event()

        def fail():
            raise ValueError("no such thing")

        delivery.soon(fail)
        delivery.soon(done.set)
        run.log_metric("loss", 2)
        assert run.flush(20) or run.flush(20), "one round fails"
        assert done.is_set()


def test_a_full_disk_is_one_warning_and_a_count_on_the_run(start):
    script = """
import logging, resource, signal
import prefect_ml as ml
from prefect_ml.settings import Settings
store = ml.open_store()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with ml.start_run("full") as run:
    run.flush()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limit[1]))
    for n in range(5000):
        run.log_metric("loss", n, step=n, timestamp=n)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
print(run.run_id)
"""
    process = start(script)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert err.count("cannot be recorded") == 1
    run = ml.get_run(out.strip())
    found = steps(run.run_id)
    missing = int(run.tags["prefect_ml.missing_records"])
    assert found == list(range(len(found)))
    assert len(found) + missing == 5000
    assert missing > 0
    assert run.status is RunStatus.FINISHED


def test_where_no_journal_can_be_kept_nobody_waits_for_its_delivery(start, home, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "20")
    home.mkdir()
    (home / "journal").write_text("")
    script = """
import prefect_ml as ml
with ml.start_run("lost") as run:
    run.log_metric("loss", 1)
    print(run.flush(), flush=True)
"""
    process = start(script)
    out, err = process.communicate(timeout=15)
    assert (out, process.returncode) == ("False\n", 0)
    assert "cannot be recorded" in err


def test_a_damaged_journal_gives_what_is_whole_and_is_reported(start, home, caplog):
    process = start(
        TRAINING.replace("1_000_000", "300").replace("with ml", "ml.flush\nwith ml")
        + "        if n == 250: os.kill(os.getpid(), 9)\n"
    )
    run_id = process.stdout.readline().strip()
    process.wait()
    [path] = home.glob("journal/*/*.journal")
    whole = bytearray(path.read_bytes())
    end = len(bytes(whole).rstrip(b"\x00"))
    delivered = len(steps(run_id)) if store_knows(run_id) else 0
    whole[end - 200] ^= 0xFF
    path.write_bytes(whole)
    with caplog.at_level(logging.WARNING):
        [report] = sync_journals(ml.open_store())
    assert report.bad_bytes > 0
    assert "damaged bytes" in caplog.text
    found = steps(run_id)
    assert found == list(range(len(found)))
    assert max(delivered, 200) <= len(found) < 251
    assert path.with_suffix(".damaged").exists()


def store_knows(run_id: str) -> bool:
    from prefect_ml.errors import NotFoundError

    try:
        ml.get_run(run_id)
    except NotFoundError:
        return False
    return True


def test_a_handle_is_pickled_by_its_id():
    import pickle

    run = ActiveRun("a" * 32)
    assert pickle.loads(pickle.dumps(run)) == run  # noqa: S301 - our own bytes


def test_an_idle_journal_gives_its_file_back_and_the_next_record_opens_another(home, monkeypatch):
    monkeypatch.setattr("prefect_ml.tracking.delivery._IDLE", 0.1)
    with ml.start_run("idle") as owner:
        child = ActiveRun("b" * 32)  # of a run that another process started
        child.log_metric("loss", 1, step=1)
        deadline = time.monotonic() + 5
        while list(home.glob(f"journal/{child.run_id}/*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not list(home.glob(f"journal/{child.run_id}/*"))
        assert list(home.glob(f"journal/{owner.run_id}/*.journal")), "that of a run's own process shows that it lives"
        child.log_metric("loss", 2, step=2)
        assert steps(child.run_id) == [1, 2]


def test_what_a_living_process_records_is_left_to_it(start):
    process = start(TRAINING)
    run_id = process.stdout.readline().strip()
    process.stdout.readline()
    [report] = sync_journals(ml.open_store())
    assert (report.run_id, report.finished, report.bad_bytes) == (run_id, False, 0)
    assert ml.get_run(run_id).status is RunStatus.RUNNING
    process.kill()
    process.communicate()
    [report] = sync_journals(ml.open_store())
    assert report.finished
    found = steps(run_id)
    assert found == list(range(len(found)))


def test_a_journal_is_only_delivered_to_the_store_that_it_was_recorded_for(start, home, monkeypatch, caplog):
    process = start(TRAINING)
    run_id = process.stdout.readline().strip()
    process.stdout.readline()
    process.kill()
    process.communicate()
    right = f"sqlite:///{home}/store.db"
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{home}/other.db")
    [report] = sync_journals(ml.open_store())
    assert (report.finished, report.records) == (False, 0)
    assert f"was recorded for the store {right}" in caplog.text
    monkeypatch.setenv("PREFECT_ML_STORE_URL", right)
    [report] = sync_journals(ml.open_store())
    assert report.finished
    assert steps(run_id)


def test_journals_carried_from_another_machine_are_delivered(start, home, tmp_path, monkeypatch):
    process = start(TRAINING)
    run_id = process.stdout.readline().strip()
    process.stdout.readline()
    process.kill()
    process.communicate()
    carried = tmp_path / "carried"
    (home / "journal").rename(carried)
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{home}/other.db")
    [report] = sync_journals(ml.open_store(), carried)
    assert report.finished
    assert store_knows(run_id)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql+psycopg://me:secret@host:5433/ml?sslmode=require", "postgresql://host:5433/ml"),
        ("postgresql://host/ml", "postgresql://host/ml"),
        ("sqlite:////srv/store.db", "sqlite:////srv/store.db"),
    ],
)
def test_a_place_names_no_secret(url, place):
    assert place_of(url) == place


def test_many_processes_sync_at_once(start, home):
    process = start(TRAINING)
    run_id = process.stdout.readline().strip()
    time.sleep(0.2)
    process.kill()
    process.communicate()
    ml.open_store()
    script = (
        "import prefect_ml as ml\nfrom prefect_ml.tracking.sync import sync_journals\nsync_journals(ml.open_store())"
    )
    syncing = [start(script) for _ in range(4)]
    for one in syncing:
        _, err = one.communicate()
        assert one.returncode == 0, err
    found = steps(run_id)
    assert found == list(range(len(found)))
    assert len(found) > 0
    assert not list(home.glob("journal/*/*.journal"))


def test_what_another_process_delivers_first_lands_in_the_run_as_its_starter_records_it(home):
    run_id, folder = uuid.uuid4().hex, Settings().journal_folder
    mine = Source("attempt", 1, 0, "task")
    starter = JournalWriter(folder, run_id, place_of(Settings().resolved_store_url))
    starter.append(start_record(RunStart("first", "named", "me", 5, {}, None)))
    starter.append(source_record(1, mine))
    ActiveRun(run_id).log_metric("loss", 1.0, step=1)
    assert ml.flush(30)
    found = ml.get_run(run_id)
    store = ml.open_store()
    assert (found.name, store.get_experiment(found.experiment_id).name) == ("named", "first")
    starter.append(metrics_record({"loss": 2.0}, 2, 5, 1))
    with contextlib.closing(Outbox(starter.path, start=0)) as outbox:
        outbox.deliver(store)
    starter.close()
    assert sorted(steps(run_id)) == [1, 2]
    deliver_folder(store, folder / run_id)
