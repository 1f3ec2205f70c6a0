"""What a scoring shows on the page of its flow run: how far it is, and what it came to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from prefect_ml.registry.description import escape
from prefect_ml.scoring.job import ScoringModel
from prefect_ml.scoring.parts import Part
from prefect_ml.scoring.plan import Plan

# An update is a request to Prefect's API.
_SECONDS_BETWEEN = 2.0
_MOST_ROWS = 500
_KEY = "batch-score"


class Page:
    """The artifacts of one scoring.

    Args:
        model: that scores.
        plan: what is scored.
        done: how many parts were there already.
    """

    def __init__(self, model: ScoringModel, plan: Plan, done: int) -> None:
        self._model, self._plan = model, plan
        self._done, self._total = done, len(plan.chunks)
        self._artifact = cast(
            "UUID",
            create_progress_artifact(
                self._percent(), key=f"{_KEY}-progress", description=f"{plan.rows} rows with {model.origin}"
            ),
        )
        self._told_at = time.monotonic()

    def add(self, _: Part, /) -> None:
        """A part was written."""
        self._done += 1
        if self._done == self._total or time.monotonic() - self._told_at >= _SECONDS_BETWEEN:
            self._told_at = time.monotonic()
            update_progress_artifact(self._artifact, self._percent())

    def finish(self, manifest: Mapping[str, Any], seconds: float) -> None:
        """All is scored."""
        create_markdown_artifact(_summary(manifest, seconds), key=_KEY, description="What was scored")
        create_table_artifact(
            [dict(part) for part in manifest["parts"][:_MOST_ROWS]], key=f"{_KEY}-parts", description="Parts"
        )

    def _percent(self) -> float:
        return 100.0 * self._done / self._total if self._total else 100.0


def _summary(manifest: Mapping[str, Any], seconds: float) -> str:
    model = manifest["model"]
    lines = [
        f"## {manifest['rows']} rows scored with {escape(model['uri'])}",
        "",
        "| | |",
        "|---|---|",
        f"| version | {model['version'] or ''} |",
        f"| digest | `{model['digest']}` |",
        f"| quarantined | {manifest['quarantined']} |",
        f"| parts | {len(manifest['parts'])} |",
        f"| seconds | {seconds:.1f} |",
        "",
        "| input | rows | digest |",
        "|---|---:|---|",
    ]
    shown = manifest["inputs"][:_MOST_ROWS]
    lines += [f"| {escape(each['name'])} | {each['rows']} | `{each['digest']}` |" for each in shown]
    return "\n".join(lines) + "\n"
