"""A run in a few lines of markdown, for a page that shows it to people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from prefect_ml.tracking.capture.readings import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.entities import Run

_MOST_ROWS = 50
_MOST_CHARACTERS = 200
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~$&])")


def markdown(run: Run, experiment: str) -> str:
    """Experiment, params, metrics and how to look at the run; what was logged is text, never markup."""
    own, system = apart(run.metrics)
    lines = [
        f"**Run** `{run.run_id}` of experiment **{text(experiment)}**",
        *_table("Metrics", _numbers(own)),
        *_table("Params", run.params),
        *_table("System metrics", _numbers(system)),
        "",
        f"```\nprefect-ml runs show {run.run_id}\n```",
        "",
        f"[Artifacts of this run](<{_link(run.artifact_uri)}>)",
    ]
    return "\n".join(lines)


def apart(metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """What was logged, and what was sampled of the machine (`system/…`)."""
    own = {key: value for key, value in metrics.items() if not key.startswith(SYSTEM)}
    return own, {key: value for key, value in metrics.items() if key not in own}


def _numbers(metrics: Mapping[str, float]) -> dict[str, str]:
    return {key: f"{value:.6g}" for key, value in metrics.items()}


def _link(artifact_uri: str) -> str:
    """The URL of a run's artifacts; a folder's is one of this machine."""
    return Path(artifact_uri).as_uri() if artifact_uri.startswith("/") else quote(artifact_uri, safe=":/")


def _table(title: str, values: Mapping[str, str]) -> list[str]:
    if not values:
        return []
    rows = [f"| {text(key)} | {text(value)} |" for key, value in sorted(values.items())[:_MOST_ROWS]]
    more = [f"\n… and {len(values) - _MOST_ROWS} more"] if len(values) > _MOST_ROWS else []
    return ["", f"| {title} | |", "|---|---|", *rows, *more]


def text(value: str) -> str:
    cut = value if len(value) <= _MOST_CHARACTERS else value[:_MOST_CHARACTERS] + "…"
    return _SPECIAL.sub(r"\\\1", " ".join(cut.split()))
