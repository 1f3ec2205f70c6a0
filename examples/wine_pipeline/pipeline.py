"""A pipeline of three entry points of a project; a step that has not changed is not run again.

    uv run python examples/wine_pipeline/pipeline.py

Run it twice: the second time nothing runs. With another `depth`, only training and judging run, and with
another `share` all of them.
The key of a step is the digest of its source, its entry point, its values and the content of the files that they name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.context import TaskRunContext

import prefect_ml as ml
from prefect_ml.projects.key import key_of
from prefect_ml.projects.request import Request

HERE = Path(__file__).parent


def unchanged(_: TaskRunContext, given: dict[str, Any]) -> str:
    """Prefect's cache key of a step; where its output goes is no part of it."""
    parameters = {**given["parameters"], "out": "out"}
    return key_of(Request(str(HERE), given["entry_point"], parameters, environment="local"))


@task(cache_key_fn=unchanged, persist_result=True, task_run_name="{entry_point}")
def step(entry_point: str, parameters: dict[str, Any], out: str) -> str:
    """Run an entry point as a run of its own, and return where its output is."""
    ml.run_project(str(HERE), entry_point, {**parameters, "out": out}, experiment="wine pipeline", environment="local")
    return out


@ml.track(experiment="wine pipeline")
@flow
def pipeline(folder: str, share: float = 0.3, depth: int = 3) -> dict[str, float]:
    """Prepare, train, judge."""
    place = Path(folder)
    data = Path(step("prepare", {"share": share}, str(place / f"data-{share}")))
    model = Path(
        step("train", {"data": str(data / "train.csv"), "depth": depth}, str(place / f"model-{share}-{depth}"))
    )
    files = {"data": str(data / "test.csv"), "model": str(model / "model.skops")}
    judged = Path(step("judge", files, str(place / f"judged-{share}-{depth}")))
    found: dict[str, float] = json.loads((judged / "judged.json").read_text())
    return found


if __name__ == "__main__":
    print(pipeline(*sys.argv[1:2] or ["wine"]))
