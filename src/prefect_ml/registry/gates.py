"""Every kind of gate, and their one evaluation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from prefect_ml.entities import GateResult
from prefect_ml.errors import InvalidInputError
from prefect_ml.registry.gate import Candidate
from prefect_ml.registry.metric_gates import BetterThanChampion, MetricThreshold
from prefect_ml.registry.model_gates import Budget, Loads, SignatureCompatible, SignaturePresent

Gate = Annotated[
    MetricThreshold | BetterThanChampion | Loads | SignaturePresent | SignatureCompatible | Budget,
    Field(discriminator="type"),
]
_GATE: TypeAdapter[Gate] = TypeAdapter(Gate)
_MAX_SUMMARY = 1000


def parse_gate(specification: Mapping[str, Any]) -> Gate:
    """The gate that a stored specification describes.

    Raises:
        InvalidInputError: it is of no known type, or lacks or exceeds what its type takes.
    """
    try:
        return _GATE.validate_json(json.dumps(dict(specification)))
    except (ValidationError, TypeError) as error:
        raise InvalidInputError(f"The gate {specification!r} cannot be used: {explain(error)}.") from error


def evaluate_gate(gate: Gate, candidate: Candidate) -> GateResult:
    """Judge a candidate by one gate; a gate that raises has failed, and its error is the summary.

    The evidence names the version, its digest and the champion's version that the verdict is about.
    """
    bound = {
        "version": candidate.subject.version.version,
        "artifact_digest": candidate.subject.version.artifact_digest,
        "champion_version": candidate.champion.version.version if candidate.champion else None,
        "champion_generation": candidate.generation,
    }
    try:
        verdict = gate.judge(candidate)
    except Exception as error:  # noqa: BLE001 - a model under test may raise anything, and none of it may pass
        summary = _cut(f"{type(error).__name__}: {error}")
        return GateResult(
            gate.name, passed=False, summary=summary, evidence={"type": gate.type, **bound, "error": summary}
        )
    evidence = {"type": gate.type, **bound, **verdict.evidence}
    return GateResult(gate.name, passed=verdict.passed, summary=_cut(verdict.summary), evidence=_plain(evidence))


def explain(error: ValidationError | TypeError) -> str:
    """What pydantic found, as one line that a person can act on."""
    if isinstance(error, TypeError):
        return str(error)
    found = (
        f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
    )
    return "; ".join(found)


def _plain(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers that JSON has no word for become text, so that evidence has one digest everywhere."""
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in evidence.items()}


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SUMMARY else text[: _MAX_SUMMARY - 3] + "..."
