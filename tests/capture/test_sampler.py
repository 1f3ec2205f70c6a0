"""System metrics come by themselves, cost nothing that can be seen, and end with their run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

import prefect_ml as ml
from prefect_ml.tracking.capture.readings import Readings
from prefect_ml.tracking.capture.sampler import Sampler, sampler

ALWAYS = {
    "system/cpu_utilization_percentage",
    "system/system_memory_usage_megabytes",
    "system/system_memory_usage_percentage",
    "system/process_cpu_utilization_percentage",
    "system/process_memory_usage_megabytes",
    "system/process_children",
    "system/disk_usage_percentage",
    "system/disk_usage_megabytes",
    "system/disk_available_megabytes",
}


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefect-ml-system"]


def until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def steps(run, name="system/cpu_utilization_percentage") -> list[int]:
    return [point.step for point in ml.get_metric_history(run.run_id, name)]


def test_readings_are_plausible():
    readings = Readings()
    began, used = time.monotonic(), time.process_time()
    sum(n * n for n in range(2_000_000))
    block = bytearray(50_000_000)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = readings.take()
    share = 100 * (time.process_time() - used) / (time.monotonic() - began)
    child.communicate(b"\n")
    assert set(found) >= ALWAYS
    assert all(value >= 0 for value in found.values())
    assert found["system/process_cpu_utilization_percentage"] > share / 2 > 0
    assert found["system/process_memory_usage_megabytes"] > len(block) / 1e6
    assert found["system/process_children"] >= 1
    assert found["system/disk_usage_percentage"] <= 100


def test_a_run_is_sampled_while_it_lasts(monkeypatch):
    monkeypatch.setenv("PREFECT_ML_SYSTEM_METRICS_INTERVAL", "0.2")
    with ml.start_run("sampled") as run:
        time.sleep(2.2)
    taken = steps(run)
    assert taken == list(range(len(taken)))
    assert 3 <= len(taken) <= 11
    assert set(ml.get_run(run.run_id).metrics) >= ALWAYS
    until(lambda: not threads())
    time.sleep(0.5)
    assert len(steps(run)) == len(taken)


def test_a_short_run_gets_one_sample_and_a_very_short_one_none():
    with ml.start_run("short") as run:
        time.sleep(1.6)
    assert steps(run) == [0]
    with ml.start_run("very-short") as run:
        time.sleep(0.01)
    assert ml.get_run(run.run_id).metrics == {}


def test_zero_turns_it_off(monkeypatch):
    monkeypatch.setenv("PREFECT_ML_SYSTEM_METRICS_INTERVAL", "0")
    until(lambda: not threads())
    with ml.start_run("off") as run:
        assert not threads()
        time.sleep(1.2)
    assert ml.get_run(run.run_id).metrics == {}


def test_all_runs_of_a_process_share_one_thread():
    one, seen = Sampler(), {}

    def recorder(name):
        return lambda values, step: seen.setdefault(name, []).append((step, values))

    until(lambda: not threads())
    for name in "abc":
        one.watch(name, 0.2, recorder(name))
    assert len(threads()) == 1
    until(lambda: all(len(seen.get(name, [])) >= 3 for name in "abc"))
    one.leave("a")
    count = len(seen["a"])
    until(lambda: len(seen["b"]) >= 6)
    assert len(seen["a"]) == count
    one.leave("b")
    one.leave("c")
    until(lambda: not threads())
    one.watch("d", 0.1, recorder("d"))
    until(lambda: len(seen.get("d", [])) >= 2)
    one.leave("d")
    until(lambda: not threads())


def test_a_recorder_that_fails_ends_the_sampling_and_nothing_else(caplog):
    one = Sampler()

    def fail(values, step):
        raise ZeroDivisionError

    one.watch("a", 0.1, fail)
    until(lambda: "no longer recorded" in caplog.text)
    until(lambda: not threads())
    one.watch("b", 0.1, fail)
    assert not threads()
    one.leave("a")
    one.leave("b")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_samples_its_own_runs(script):
    out = script("""
import os, threading, time, warnings
warnings.simplefilter("ignore")
os.environ["PREFECT_ML_SYSTEM_METRICS_INTERVAL"] = "0.2"
import prefect_ml as ml
with ml.start_run("parent") as parent:
    ml.flush()
    time.sleep(1.3)
    if not (pid := os.fork()):
        names = [t.name for t in threading.enumerate()]
        assert "prefect-ml-system" not in names, names
        with ml.start_run("child") as run:
            time.sleep(1.8)
        ml.flush()
        print("child", len(ml.get_metric_history(run.run_id, "system/process_children")), flush=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
print("parent", len(ml.get_metric_history(parent.run_id, "system/process_children")))
""")
    counts = dict(line.split() for line in out.splitlines())
    assert 1 <= int(counts["child"]) <= 8
    assert int(counts["parent"]) >= 5


def test_it_keeps_no_process_alive(script):
    start = time.monotonic()
    script("""
import prefect_ml as ml
from prefect_ml.tracking.start import begin
begin("a" * 32, "open", None, parent=None, tags=None)
import time; time.sleep(1.3)
""")
    assert time.monotonic() - start < 20


def test_without_psutil_there_is_nothing_and_no_word(script):
    out = script("""
import logging, sys, time
sys.modules["psutil"] = None
import prefect_ml as ml
handler = logging.StreamHandler(sys.stdout)
logging.getLogger("prefect_ml").addHandler(handler)
logging.getLogger("prefect_ml").setLevel(logging.INFO)
with ml.start_run("bare") as run:
    time.sleep(1.3)
assert not ml.get_run(run.run_id).metrics
from prefect_ml.tracking.capture.sampler import sampler
print("missing", sampler()._missing)
""")
    assert out.strip() == "missing True"


def test_the_machine_does_not_notice():
    one, seen = Sampler(), []
    one.watch("a", 0.5, lambda _, step: seen.append(step))
    until(lambda: len(seen) >= 1)
    before, began = time.process_time(), time.monotonic()
    until(lambda: len(seen) >= 5)
    used, lasted = time.process_time() - before, time.monotonic() - began
    one.leave("a")
    # A hundredth of one processor at twenty times the default rate.
    assert used / lasted < 0.2
    assert sampler() is not one
