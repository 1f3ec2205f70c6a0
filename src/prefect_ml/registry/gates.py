"""Every kind of gate, and their one evaluation."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from prefect_ml.entities import GateResult
from prefect_ml.errors import InvalidInputError, StoreUnavailableError
from prefect_ml.models.apart import LostError
from prefect_ml.registry.apart import judge_apart
from prefect_ml.registry.clean_room import CleanRoom
from prefect_ml.registry.comparison_gates import ComparedWithChampion, Slices
from prefect_ml.registry.flow_gate import FlowGate
from prefect_ml.registry.gate import Candidate, Verdict
from prefect_ml.registry.metric_gates import BetterThanChampion, MetricThreshold
from prefect_ml.registry.model_gates import Budget, Loads, SignatureCompatible, SignaturePresent
from prefect_ml.registry.scan_gate import PickleScan

Gate = Annotated[
    MetricThreshold
    | BetterThanChampion
    | ComparedWithChampion
    | Slices
    | Loads
    | SignaturePresent
    | SignatureCompatible
    | Budget
    | PickleScan
    | CleanRoom
    | FlowGate,
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
    """Judge a candidate by one gate; a gate that raises, crashes or takes too long has failed, and says so.

    Gates that run a model do so in a process of their own. The evidence names the version, its digest and the
    champion's version that the verdict is about.

    Raises:
        StoreUnavailableError: the store cannot be reached, which says nothing about the candidate; try again.
    """
    started = time.monotonic()
    try:
        prepared = candidate.with_prepared(gate.prepare(candidate))
        verdict = judge_apart(gate, prepared) if gate.apart else gate.judge(prepared)
    except StoreUnavailableError:
        raise
    except LostError as error:
        verdict = _failed(str(error))
    except Exception as error:  # noqa: BLE001 - a model under test may raise anything, and none of it may pass
        verdict = _failed(f"{type(error).__name__}: {error}")
    took = time.monotonic() - started
    if verdict.passed and took > gate.timeout:
        verdict = _failed(f"it took {took:.0f} seconds, and its timeout is {gate.timeout:g}")
    return result_of(gate, candidate, verdict)


def result_of(gate: Gate, candidate: Candidate, verdict: Verdict) -> GateResult:
    """The verdict as it is recorded, bound to what it is about."""
    bound = {
        "version": candidate.subject.version.version,
        "artifact_digest": candidate.subject.version.artifact_digest,
        "champion_version": candidate.champion.version.version if candidate.champion else None,
        "champion_generation": candidate.generation,
    }
    evidence = _plain({"type": gate.type, **verdict.evidence, **bound})
    return GateResult(gate.name, passed=verdict.passed, summary=_cut(verdict.summary), evidence=evidence)


def explain(error: ValidationError | TypeError) -> str:
    """What pydantic found, as one line that a person can act on."""
    if isinstance(error, TypeError):
        return str(error)
    found = (
        f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
    )
    return "; ".join(found)


def _failed(summary: str) -> Verdict:
    return Verdict(False, summary, {"error": _cut(summary)})


def _plain(value: Any) -> Any:
    """Numbers that JSON has no word for become text, so that evidence has one digest everywhere."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SUMMARY else text[: _MAX_SUMMARY - 3] + "..."
