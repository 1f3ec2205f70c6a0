"""Training functions that processes of a pool can import."""

from __future__ import annotations

import os
import time

import prefect_ml as ml


def parabola(x: float, kind: str = "a") -> float:
    """Largest, 1.0, at x = 2 of kind "a"."""
    ml.log_metric("seen", x)
    return 1.0 - (x - 2) ** 2 - (0.5 if kind == "b" else 0.0)


def logged_only(x: float) -> None:
    for step in range(3):
        ml.log_metric("score", x * step, step=step)


def sometimes(x: float) -> float:
    if x == 1:
        raise ZeroDivisionError("one is too many")
    return float("nan") if x == 2 else x


def slow(x: float, folder: str, seconds: float = 0.5) -> dict[str, float]:
    """Leaves a line for each start, and logs as it goes."""
    with open(os.path.join(folder, "started"), "a") as file:  # noqa: PTH118, PTH123 - one line, one write
        file.write(f"{x} {os.getpid()}\n")
    end = time.monotonic() + seconds
    step = 0
    while time.monotonic() < end:
        ml.log_metric("tick", step, step=step)
        step += 1
        time.sleep(0.02)
    return {"score": x}
