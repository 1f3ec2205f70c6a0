"""Tasks and flows that the workers of every task runner can import."""

from __future__ import annotations

import os

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

import prefect_ml as ml


@task(cache_policy=NO_CACHE)
def point(number: int) -> tuple[str, int]:
    """One point of a curve, and one of a metric of its own for every hundredth."""
    ml.log_metric("loss", number / 2, step=number)
    if number % 100 == 0:
        ml.log_param(f"param_{number}", number)
    return ml.current_run().run_id, os.getpid()


@task(cache_policy=NO_CACHE)
def alike(frame: list[float]) -> float:
    """Its calls look alike to whoever compares the shapes of their arguments; each has a step of its own."""
    ml.log_metric("alike", frame[-1], step=int(frame[-1]))
    return frame[-1]


@task
def outer(number: int) -> int:
    """A task that calls another."""
    ml.log_metric("outer", number, step=number)
    return inner(number)


@task
def inner(number: int) -> int:
    """The task that is called."""
    ml.log_metric("inner", number, step=number)
    return number


@ml.track(experiment="children")
@flow
def child(number: int) -> float:
    """A subflow."""
    ml.log_metric("own", number)
    return number


@task
def call_child(number: int) -> int:
    """A task that calls a subflow."""
    child(number)
    return os.getpid()
