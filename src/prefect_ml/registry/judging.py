"""What judges a gate in a process of its own; see `apart`, which asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from prefect_ml.entities import ModelVersion, Stage
from prefect_ml.registry.gate import Candidate, Subject
from prefect_ml.registry.gates import parse_gate
from prefect_ml.settings import Settings
from prefect_ml.store.contract import Store


def gate(request: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict on a candidate, as `judge_apart` asks for it."""
    held = request["champion"]
    champion = None if held is None else _subject(held)
    subject = _subject(request["subject"])
    candidate = Candidate(request["alias"], subject, champion, request["generation"], request["prepared"])
    verdict = parse_gate(request["gate"]).judge(candidate)
    return {"passed": verdict.passed, "summary": verdict.summary, "evidence": dict(verdict.evidence)}


def _subject(told: Mapping[str, Any]) -> Subject:
    version = ModelVersion(**{**told["version"], "stage": Stage(told["version"]["stage"])})
    settings = Settings(trusted_origins=tuple(told["trusted"]))
    # No store goes along: a gate that is judged here looks at folders alone.
    return Subject(cast("Store", None), version, settings, Path(told["folder"]))
