"""What is captured reaches the run whatever the store does, and nobody waits for it."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

import prefect_ml as ml
from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import NotFoundError
from prefect_ml.settings import Settings
from prefect_ml.store import open_store
from prefect_ml.tracking.sync import sync_journals

PACKAGES = "environment/packages.txt"


def artifacts(run):
    return open_artifacts(run.artifact_uri)


def in_store(run_id: str, seconds: float = 10.0):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return open_store(Settings().resolved_store_url).get_run(run_id)
        except NotFoundError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_each_run_of_a_process_is_delivered_while_it_lasts():
    for _ in range(3):
        with ml.start_run("live") as run:
            run.log_metric("loss", 1)
            assert in_store(run.run_id).status == "RUNNING"
        time.sleep(0.3)


def test_packages_are_there_and_say_by_their_digest_whether_they_changed():
    with ml.start_run("packages") as first:
        pass
    with ml.start_run("packages") as second:
        pass
    ml.flush()
    one, two = ml.get_run(first.run_id), ml.get_run(second.run_id)
    lines = artifacts(one).read(PACKAGES).decode().splitlines()
    assert any(line.lower().startswith("sqlalchemy==") for line in lines)
    assert lines == sorted(lines)
    assert one.tags["prefect_ml.environment_digest"] == two.tags["prefect_ml.environment_digest"]
    assert artifacts(two).read(PACKAGES).decode().splitlines() == lines


def test_a_package_that_is_imported_in_the_middle_is_recorded(start):
    process = start("""
import prefect_ml as ml
with ml.start_run("late") as run:
    ml.flush()
    import lightgbm
ml.flush()
from prefect_ml.artifacts import open_artifacts
import hashlib
found = ml.get_run(run.run_id)
content = open_artifacts(found.artifact_uri).read("environment/packages.txt")
assert b"\\nlightgbm==" in content, content
assert found.tags["prefect_ml.environment_digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
""")
    assert process.wait() == 0, process.stderr.read()


def test_it_is_there_when_the_process_has_ended(start):
    process = start("import prefect_ml as ml\nwith ml.start_run('short') as run: print(run.run_id)")
    assert process.wait() == 0, process.stderr.read()
    run = ml.get_run(process.stdout.read().strip())
    assert b"==" in artifacts(run).read(PACKAGES)
    assert run.tags["prefect_ml.host.cpu_count"] == str(os.cpu_count())


def test_the_machine_is_named():
    with ml.start_run("host") as run:
        pass
    tags = ml.get_run(run.run_id).tags
    names = {"name", "system", "cpu", "cpu_count", "memory_megabytes"}
    assert {key.removeprefix("prefect_ml.host.") for key in tags if key.startswith("prefect_ml.host.")} == names
    assert int(tags["prefect_ml.host.memory_megabytes"]) > 100


def test_while_the_store_is_away_it_waits_on_this_machine_for_its_owner_alone(tmp_path, monkeypatch, home):
    folder = tmp_path / "away"
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{folder / 'store.db'}")
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "1")
    folder.write_text("no folder yet")
    with ml.start_run("away") as run:
        pass
    deadline = time.monotonic() + 10
    while not (waiting := list((home / "journal" / run.run_id).glob("waiting-*"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    files = [path for path in (home / "journal").rglob("*") if path.is_file()]
    assert any(path.name == "packages.txt" for path in waiting[0].rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((home / "journal" / run.run_id).stat().st_mode) == 0o700
    folder.unlink()
    folder.mkdir()
    sync_journals(open_store(Settings().resolved_store_url))
    assert b"==" in artifacts(ml.get_run(run.run_id)).read(PACKAGES)


def test_offline_it_waits_for_sync(start, home, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_OFFLINE", "1")
    process = start("import prefect_ml as ml\nwith ml.start_run('offline') as run: print(run.run_id)")
    assert process.wait() == 0, process.stderr.read()
    monkeypatch.delenv("PREFECT_ML_OFFLINE")
    sync_journals(open_store(Settings().resolved_store_url))
    run = ml.get_run(process.stdout.read().strip())
    assert b"==" in artifacts(run).read(PACKAGES)
    assert not list((home / "journal").glob("*"))


def test_artifacts_that_cannot_be_put_wait_and_harm_nothing(monkeypatch, tmp_path, home, caplog):
    blocked = tmp_path / "blocked"
    blocked.write_text("no folder")
    monkeypatch.setenv("PREFECT_ML_ARTIFACT_ROOT", str(blocked))
    with ml.start_run("blocked") as run:
        run.log_metric("a", 1)
    ml.flush()
    assert ml.get_run(run.run_id).metrics == {"a": 1.0}
    assert list((home / "journal" / run.run_id).glob("waiting-*"))


@pytest.mark.parametrize(
    ("things", "absent"), [("", "prefect_ml.host.name"), ("host", "prefect_ml.environment_digest")]
)
def test_what_is_turned_off_is_not_looked_for(monkeypatch, things, absent):
    monkeypatch.setenv("PREFECT_ML_CAPTURE", things)
    with ml.start_run("off") as run:
        pass
    ml.flush()
    found = ml.get_run(run.run_id)
    assert "prefect_ml.environment_digest" not in found.tags
    assert "mlflow.user" in found.tags
    assert ("prefect_ml.host.name" in found.tags) == (things == "host")
    assert artifacts(found).list() == []


def test_an_unknown_thing_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("PREFECT_ML_CAPTURE", "git,passwords")
    with pytest.raises(ValueError, match="PREFECT_ML_CAPTURE cannot be read: Input should be 'git', 'diff'"):
        Settings()


def test_neither_environment_nor_arguments_are_recorded(start, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_VARIABLE", "value-of-a-variable")
    process = start("import prefect_ml as ml\nwith ml.start_run('x') as run: print(run.run_id)", "--key", "argument-99")
    assert process.wait() == 0, process.stderr.read()
    run = ml.get_run(process.stdout.read().strip())
    everything = str(run).encode() + b"".join(p.read_bytes() for p in Path(tmp_path).rglob("*") if p.is_file())
    assert b"value-of-a-variable" not in everything
    assert b"argument-99" not in everything


def test_the_start_of_a_run_is_quick():
    for _ in range(3):
        with ml.start_run("warm"):
            pass
    times = []
    for _ in range(20):
        start = time.perf_counter()
        with ml.start_run("quick"):
            times.append(time.perf_counter() - start)
    assert sorted(times)[len(times) // 2] < 0.02
