"""Tasks and flows that a process pool can import."""

from __future__ import annotations

import os

from prefect import task

import prefect_ml as ml


@task
def log_here(number: int) -> tuple[str, int]:
    ml.log_metric("loss", 1 / (number + 1), step=number)
    ml.log_param(f"param_{number}", number)
    return ml.current_run().run_id, os.getpid()


@task
def log_by_handle(run, number: int) -> str:
    run.log_metric("handed", number, step=number)
    return run.run_id
