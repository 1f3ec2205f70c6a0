"""A process that ends with the one that started it, whatever it is doing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefect_ml.errors import InvalidInputError
from prefect_ml.http.parent import end_with

CHILD = """
import os, pathlib, signal, sys, time
from prefect_ml.http.parent import end_with
folder = pathlib.Path(sys.argv[1])
def stop(*_):
    (folder / "told").touch()
    sys.exit(0) if sys.argv[3] == "gentle" else None
signal.signal(signal.SIGTERM, stop)
end_with(int(sys.argv[2]), within=1)
(folder / "pid.partial").write_text(str(os.getpid()))
(folder / "pid.partial").rename(folder / "pid")
while True:
    time.sleep(0.05)
"""
PARENT = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2], str(os.getpid()), sys.argv[3]])
time.sleep(600)
"""


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(look):
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("kind", ["gentle", "deaf"])
def test_it_is_told_to_stop_when_its_parent_is_killed_and_killed_when_it_does_not(kind, tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD, tmp_path, kind])
    wait_for((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    assert not gone(pid)
    parent.kill()
    parent.wait(30)
    wait_for(lambda: gone(pid))
    assert (tmp_path / "told").exists()


def test_it_does_not_start_for_a_parent_that_is_gone_or_another():
    with pytest.raises(InvalidInputError, match="is not the one that started this"):
        end_with(os.getpid(), within=1)
