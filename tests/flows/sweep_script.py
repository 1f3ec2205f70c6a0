"""A sweep in a process of its own, to be killed: `sweep_script.py RUNNER FOLDER TRIALS SECONDS`."""

from __future__ import annotations

import sys

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from prefect_ml.flows.sweep import sweep

if __name__ == "__main__":
    runner, folder, trials, seconds = sys.argv[1:]
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        sweep(
            "trainings:slow",
            {"x": {"low": 0, "high": 1}},
            metric="score",
            method="random",
            trials=int(trials),
            parallel=2,
            task_runner=runner,
            key="killed",
            experiment="killed",
            fixed={"folder": folder, "seconds": float(seconds)},
        )
