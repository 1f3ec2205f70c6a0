"""Journals of several machines, recorded without a store, carried by copying folders, merged into one store."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import ledger
import pytest

import prefect_ml as ml
from prefect_ml.entities import RunStatus
from prefect_ml.tracking.sync import sync_journals

SHARED = "5" * 32
# Artifacts wait for the disk, so that there are few of them.
EVERYTHING = ["metric", "metrics", "params", "tags"] * 5 + ["text", "file"]


@pytest.fixture
def machines(nursery, tmp_path) -> list[Path]:
    """The journal folders of three machines: a run that ended and one that was killed on each, and a shared one."""
    homes = [tmp_path / f"machine{number}" for number in range(3)]
    pids = []
    for number, home in enumerate(homes):
        environment = {"PREFECT_ML_HOME": str(home), "PREFECT_ML_OFFLINE": "true", "PREFECT_ML_WATCH": "false"}
        spec = {"environment": environment, "kinds": EVERYTHING}
        pids.append(nursery.fork(calls=100, **spec))
        pids.append(nursery.fork(calls=100, run_id=SHARED, worker=number, **spec))
        killed = nursery.fork(pause=0.001, crash=["journal named", 10], **spec)
        assert nursery.wait(killed) == -9
    assert [nursery.wait(pid) for pid in pids] == [0] * 6, nursery.errors
    assert not [home for home in homes if list(home.glob("*.db"))], "offline opens no store"
    return [home / "journal" for home in homes]


def check(nursery) -> None:
    """All runs of all machines are in the store, whole and once."""
    store = ml.open_store()
    accounts = ledger.accounts(nursery.ledgers)
    assert len(accounts) == 7
    assert ledger.check(store, accounts).wrong == {}
    statuses = sorted(store.get_run(run_id).status for run_id in accounts if run_id != SHARED)
    assert statuses == [RunStatus.FINISHED] * 3 + [RunStatus.KILLED] * 3


def deliver(folder: Path) -> int:
    """How many records were delivered from a folder of journals."""
    return sum(report.records for report in sync_journals(ml.open_store(), folder))


def test_copied_once(machines, nursery):
    assert all(deliver(machine) > 0 for machine in machines)
    check(nursery)
    assert [list(machine.iterdir()) for machine in machines] == [[], [], []]


def test_copied_into_one_folder_and_delivered_twice(machines, nursery, tmp_path):
    for turn in (1, 2):
        carried = tmp_path / f"carried{turn}"
        for machine in machines:
            shutil.copytree(machine, carried, dirs_exist_ok=True)
        count = deliver(carried)
        assert (count > 0) is (turn == 1)
        check(nursery)
    assert [deliver(machine) for machine in machines] == [0, 0, 0]
    check(nursery)


def test_copied_partially_and_then_fully(machines, nursery, tmp_path):
    """A copy was cut off anywhere: the rest comes with the whole one."""
    rng = random.Random(7)  # noqa: S311 - where copies are cut
    for turn in range(3):
        carried = tmp_path / f"carried{turn}"
        for machine in machines:
            shutil.copytree(machine, carried, dirs_exist_ok=True)
        for path in (path for path in carried.rglob("*") if path.is_file()):
            content = path.read_bytes()
            path.write_bytes(content[: rng.randrange(len(content) + 1)])
        deliver(carried)
    for machine in machines:
        deliver(machine)
    check(nursery)


def test_delivered_by_the_command(machines, nursery):
    command = [str(Path(sys.executable).parent / "prefect-ml"), "sync", "--json"]
    for machine in machines[:2]:
        done = subprocess.run([*command, str(machine.parent)], capture_output=True, text=True, check=True)
        assert all(report["finished"] for report in json.loads(done.stdout))
    subprocess.run([*command, str(machines[2])], capture_output=True, check=True)
    check(nursery)
    missing = subprocess.run([*command, "/no/such"], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "There is no folder '/no/such'" in missing.stderr
