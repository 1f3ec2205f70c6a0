"""Judging a gate in a process of its own."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from prefect_ml.models.apart import run_apart
from prefect_ml.registry.gate import Candidate, GateBase, Subject, Verdict


def judge_apart(gate: GateBase, candidate: Candidate) -> Verdict:
    """The verdict of a gate, judged in a process of its own; the folders are fetched and verified here.

    Raises:
        LostError: the process took too long, crashed or was killed.
    """
    started = time.monotonic()
    subjects = {"subject": candidate.subject, "champion": candidate.champion}
    request = {
        "kind": "prefect_ml.registry.judging:gate",
        "gate": gate.model_dump(mode="json", exclude_none=True),
        "alias": candidate.alias,
        "generation": candidate.generation,
        "prepared": dict(candidate.prepared),
        **{role: None if found is None else _told(found) for role, found in subjects.items()},
    }
    answer = run_apart(request, _flavors(candidate), gate.timeout - (time.monotonic() - started), gate.timeout)
    return Verdict(answer["passed"] is True, str(answer["summary"]), answer["evidence"])


def _told(subject: Subject) -> dict[str, Any]:
    version = dataclasses.asdict(subject.version)
    trusted = list(subject.trusted_origins)
    return {"version": version, "folder": str(subject.folder), "trusted": trusted}


def _flavors(candidate: Candidate) -> list[str]:
    subjects = [candidate.subject, *([candidate.champion] if candidate.champion else [])]
    return sorted({str(name) for subject in subjects for name in subject.info.flavors})
