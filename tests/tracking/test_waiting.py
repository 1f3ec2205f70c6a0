"""Artifacts of a run whose store does not take them now: they wait, in order, and hardly anybody waits for them."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import prefect_ml as ml
from prefect_ml.artifacts import open_artifacts
from prefect_ml.tracking.sync import sync_journals


def kept(run_id, name):
    return open_artifacts(ml.get_run(run_id).artifact_uri).read(name)


def test_a_server_that_never_answers_hardly_delays_a_training_that_keeps_files(start, home, monkeypatch):
    """One that refuses connections is noticed at once; this one only by its silence."""
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        process = start("""
import time
import prefect_ml as ml
with ml.start_run("silent") as run:
    began = time.monotonic()
    for epoch in range(5):
        ml.log_metric("loss", epoch, step=epoch)
        ml.log_text(f"epoch {epoch}", "state.txt")
        ml.log_text(f"epoch {epoch}", f"{epoch}.txt")
    trained = time.monotonic()
print(run.run_id, trained - began, time.monotonic() - trained, flush=True)
""")
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    run_id, training, ending = out.split()
    assert float(training) < 20, "each file waits for a minute"
    assert float(ending) < 20, "the end of the run waits longer than it may"
    assert err.count("waits in") == 1, err
    monkeypatch.delenv("PREFECT_ML_STORE_URL")
    assert all(report.finished for report in sync_journals(ml.open_store(), home / "journal"))
    assert kept(run_id, "state.txt") == b"epoch 4"
    assert [kept(run_id, f"{epoch}.txt") for epoch in range(5)] == [b"epoch %d" % epoch for epoch in range(5)]
    assert not list(home.glob("journal/*"))


def test_what_was_kept_last_under_a_name_stays(home, monkeypatch):
    """Whether the earlier ones wait or are where they belong."""
    home.mkdir(parents=True)
    blocker = home / "away"
    blocker.write_text("a file where the store's folder should be")
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{blocker}/store.db")
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "0.3")
    folder = home / "plots"
    folder.mkdir()
    with ml.start_run("order") as run:
        for version in range(6):
            ml.log_text(f"{version}", "waited.txt")
            ml.log_text(f"{version}", "replaced.txt")
            (folder / "plot.txt").write_text(f"{version}")
            ml.log_artifacts(folder, "plots")
        blocker.unlink()
        assert run.flush(20)
        deadline = time.monotonic() + 60
        while not (Path(run.artifact_uri) / "plots/plot.txt").exists() and time.monotonic() < deadline:
            (folder / "plot.txt").write_text("new")
            ml.log_artifacts(folder, "plots")
            ml.log_text("new", "replaced.txt")
            time.sleep(0.2)
    assert ml.flush(20)
    sync_journals(ml.open_store())
    assert kept(run.run_id, "waited.txt") == b"5"
    assert kept(run.run_id, "replaced.txt") == b"new"
    assert kept(run.run_id, "plots/plot.txt") == b"new"
    assert not list(home.glob("journal/*"))


def test_a_file_that_can_neither_be_kept_nor_wait_is_counted_on_the_run(start, home, monkeypatch):
    home.mkdir(parents=True)
    blocker = home / "away"
    blocker.write_text("a file where the store's folder should be")
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{blocker}/store.db")
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "0.3")
    process = start("""
import os, resource, signal
import prefect_ml as ml
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with ml.start_run("full") as run:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    for n in range(3):
        ml.log_text("x" * 1000, f"{n}.txt")
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    ml.log_text("x" * 1000, "3.txt")
print(run.run_id)
""")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err.count("is lost") == 3, err
    blocker.unlink()
    sync_journals(ml.open_store())
    run = ml.get_run(out.strip())
    assert run.tags["prefect_ml.missing_artifacts"] == "3"
    assert sorted(path.name for path in Path(run.artifact_uri).glob("*.txt")) == ["3.txt"]


def test_what_another_process_could_not_record_is_counted_on_the_run_too(start):
    """As a task in a process of its own does, which does not end the run."""
    worker = """
import resource, signal, sys
from prefect_ml.tracking.run import ActiveRun
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run, worker, cured = ActiveRun(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "cured"
run.log_metric("begun", worker, step=worker)
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limit[1]))
for n in range(1500):
    run.log_metric("loss", n, step=worker * 10_000 + n)
if cured:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    run.log_metric("loss", 1500, step=worker * 10_000 + 1500)
    import os
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ml.open_store().close()
    with ml.start_run("shared") as run:
        run.flush()
        processes = [start(worker, run.run_id, str(n), cured) for n, cured in enumerate(["cured", "cured", "full"])]
        for process in processes:
            process.communicate(timeout=60)
        assert [process.returncode for process in processes] == [-9, -9, 0]
    found = ml.get_run(run.run_id)
    missing = [int(value) for tag, value in found.tags.items() if tag.startswith("prefect_ml.missing_records")]
    assert len(missing) == 3
    assert all(missing)
    points = ml.get_metric_history(run.run_id, "loss")
    assert len(points) + sum(missing) == 3 * 1500 + 2
