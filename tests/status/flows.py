"""Flows that end in every way; deployed to a worker, served, and run as a script: `python flows.py FLOW [JSON]`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from prefect import Flow, flow, tags, task
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.runtime import flow_run
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

import prefect_ml as ml


@ml.track(experiment="status")
@flow
def hold(until: str = "", seconds: float = 900) -> None:
    """Log, then wait until there is a file."""
    ml.log_metric("begun", 1)
    deadline = time.monotonic() + seconds
    while not (until and Path(until).exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    ml.log_metric("waited", 1)


@ml.track(experiment="status")
@flow
def nests() -> None:
    """Have a flow within it do all."""
    hold()


@ml.track(experiment="status")
@flow
def raises() -> None:
    ml.log_metric("begun", 1)
    raise ZeroDivisionError("on purpose")


@ml.track(experiment="status")
@flow
def typed(number: int) -> None:
    ml.log_metric("begun", number)


@ml.track(experiment="status")
@flow
def raises_late(until: str) -> None:
    """Log, then wait until there is a file, then fail."""
    ml.log_metric("begun", 1)
    while not Path(until).exists():
        time.sleep(0.1)
    raise ZeroDivisionError("on purpose")


def stays(until: str, leave: str) -> None:
    """No flow, but a process that goes on after one, as a notebook's does, until there is another file."""
    with contextlib.suppress(Exception):
        hold(until)
    while not Path(leave).exists():
        time.sleep(0.1)


def in_turn(until: str) -> None:
    """No flow, but a process that executes one after the other."""
    hold(until)
    with contextlib.suppress(ZeroDivisionError):
        raises()
    hold()


def _first_time(marker: str) -> bool:
    """Whether nobody was here before, in any process."""
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@task(cache_policy=NO_CACHE)
def uncached(number: int) -> int:
    ml.log_metric("uncached", number, step=number)
    return number


@task(persist_result=False)
def unpersisted(number: int) -> int:
    ml.log_metric("unpersisted", number, step=number)
    return number


@task(persist_result=True)
def persisted(number: int) -> int:
    ml.log_metric("persisted", number, step=number)
    ml.set_tag(f"persisted-{number}", os.getpid())
    return number


@task(persist_result=True)
def fails_first(number: int, marker: str) -> int:
    ml.log_metric("fails_first", number, step=number)
    if _first_time(f"{marker}-{number}"):
        raise ZeroDivisionError("the first time")
    return number


@task(retries=2)
def stubborn(marker: str) -> None:
    for step in range(3):
        ml.log_metric("stubborn", step, step=step)
    if _first_time(f"{marker}-stubborn-1") or _first_time(f"{marker}-stubborn-2"):
        raise ZeroDivisionError("twice")


@task(cache_policy=INPUTS, persist_result=True)
def cached(number: int) -> int:
    ml.log_metric("cached", number)
    return number


@ml.track(experiment="status")
@flow(retries=2, task_runner=ThreadPoolTaskRunner(max_workers=2))
def retried(marker: str) -> None:
    """Fails twice: in its tasks, then in its own code."""
    ml.log_metric("attempt", flow_run.run_count)
    for step in range(3):
        ml.log_metric("body", step, step=step)
    stubborn(marker)
    mapped = [each.map(range(3)) for each in (uncached, unpersisted, persisted)]
    mapped.append(fails_first.map(range(3), marker=marker))
    for futures in mapped:
        futures.result()
    if _first_time(f"{marker}-body"):
        raise ZeroDivisionError("in the body")


@ml.track(experiment="status")
@flow
def caches(number: int) -> None:
    ml.log_metric("begun", 1)
    cached(number)


@ml.track(experiment="status")
@flow
def suspends() -> None:
    ml.log_metric("body", 1)
    persisted(1)
    suspend_flow_run(timeout=600, key="once")
    ml.log_metric("resumed", 1)


@task(cache_policy=NO_CACHE)
def tick() -> None:
    time.sleep(0.5)


@ml.track(experiment="status")
@flow
def ticks(until: str) -> None:
    ml.log_metric("begun", 1)
    while not Path(until).exists():
        tick()


@ml.track(experiment="status")
@flow
def pauses() -> None:
    ml.log_metric("body", 1)
    pause_flow_run(timeout=600, poll_interval=1, key="once")
    ml.log_metric("resumed", 1)


@ml.track(experiment="status")
@flow
def fails_once(marker: str) -> None:
    """Fails the first time, and is then held the second."""
    for step in range(3):
        ml.log_metric("body", step, step=step)
    persisted(1)
    if _first_time(marker):
        raise ZeroDivisionError("the first time")


@ml.track(experiment="status")
@flow(retries=1, retry_delay_seconds=600)
def waits_to_retry(marker: str) -> None:
    """Fails the first time, and would be retried in its process much later."""
    ml.log_metric("begun", 1)
    if _first_time(marker):
        raise ZeroDivisionError("the first time")


def _mourn_long(flow: Flow, flow_run: FlowRun, state: State) -> None:
    """Hold the worker back, which reports the death once more when this is over."""
    while not Path(flow_run.parameters["mourned"]).exists():
        time.sleep(0.1)


@ml.track(experiment="status")
@flow(on_crashed=[_mourn_long])
def lives_again(until: str, mourned: str) -> None:
    ml.log_metric("begun", 1)
    while not Path(until).exists():
        time.sleep(0.1)


@task(cache_policy=NO_CACHE)
def outlives(until: str) -> None:
    ml.set_tag("child", os.getpid())
    while not Path(until).exists():
        time.sleep(0.1)
    ml.log_metric("outlived", 1)


@ml.track(experiment="status")
@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def pool(until: str) -> None:
    outlives.submit(until).wait()


if __name__ == "__main__":
    name, given = sys.argv[1], json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}")
    if name == "serve":
        hold.serve(name=given.get("deployment", "served"), pause_on_shutdown=False)
    else:
        with tags(*os.environ.get("PREFECT_TAGS_OF_TEST", "").split()):
            globals()[name](**given)
