"""Gates over the model folder: that it loads, replays its example, keeps its signature and its budget."""

from __future__ import annotations

import time
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from prefect_ml.models.mlmodel import ModelInfo
from prefect_ml.registry.compatibility import incompatibilities
from prefect_ml.registry.gate import Candidate, GateBase, GateName, Verdict

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Loads(GateBase):
    """The folder has its registered digest, the model loads, and predicts on its input example.

    Loading runs no pickle unless the operator's setting `PREFECT_ML_TRUSTED_ORIGINS` names the model, and none at all
    when `trust` is false.
    """

    apart: ClassVar[bool] = True

    type: Literal["loads"] = "loads"
    name: GateName = "loads"
    require_example: bool = True
    trust: bool = True

    def judge(self, candidate: Candidate) -> Verdict:
        subject = candidate.subject
        started = time.perf_counter()
        model = subject.load(trust=self.trust)
        evidence: dict[str, Any] = {
            "digest": subject.version.artifact_digest,
            "flavor": model.flavor.name,
            "load_seconds": round(time.perf_counter() - started, 3),
            "example_replayed": False,
        }
        example = model.input_example
        if example is None:
            remedy = "log the model with input_example=..., or set require_example to false"
            summary = f"the model loads, but keeps no input example to replay; {remedy}"
            return Verdict(not self.require_example, summary, evidence)
        model.predict(example)
        evidence["example_replayed"] = True
        return Verdict(True, f"the {model.flavor.name} model loads and predicts on its input example", evidence)


class SignaturePresent(GateBase):
    """The model says what it takes and what it gives."""

    type: Literal["signature_present"] = "signature_present"
    name: GateName = "signature_present"

    def judge(self, candidate: Candidate) -> Verdict:
        signature = candidate.subject.info.signature
        inputs = 0 if signature is None else len(signature.inputs or ())
        outputs = 0 if signature is None else len(signature.outputs or ())
        evidence = {"inputs": inputs, "outputs": outputs}
        if inputs and outputs:
            return Verdict(True, f"the signature names {inputs} inputs and {outputs} outputs", evidence)
        side = "inputs" if not inputs else "outputs"
        return Verdict(False, f"the signature names no {side}; log the model with input_example=...", evidence)


class SignatureCompatible(GateBase):
    """Every request that the champion accepts, the candidate accepts, and it answers with the same columns.

    Without a champion, it passes and says so.
    """

    type: Literal["signature_compatible"] = "signature_compatible"
    name: GateName = "signature_compatible"

    def judge(self, candidate: Candidate) -> Verdict:
        champion = candidate.champion
        if champion is None:
            summary = f"nothing holds @{candidate.alias} yet, so there is no signature to keep"
            return Verdict(True, summary, {"champion_version": None})
        found = _broken(champion.info, candidate.subject.info)
        evidence = {"champion_version": champion.version.version, "incompatible": found[:20]}
        if found:
            return Verdict(False, f"clients of version {champion.version.version} would break: {found[0]}", evidence)
        return Verdict(True, f"takes and gives what version {champion.version.version} does", evidence)


class Budget(GateBase):
    """The folder is small enough, and the median of `repeats` predictions on the input example fast enough.

    `trust: false` withholds the operator's trust from the model, as in `Loads`.
    """

    apart: ClassVar[bool] = True

    type: Literal["budget"] = "budget"
    name: GateName = "budget"
    max_megabytes: Positive | None = None
    max_latency_ms: Positive | None = None
    repeats: Annotated[int, Field(ge=1, le=1000)] = 20
    trust: bool = True

    @model_validator(mode="after")
    def _has_limit(self) -> Budget:
        if self.max_megabytes is None and self.max_latency_ms is None:
            raise ValueError(f"the gate {self.name!r} needs max_megabytes, max_latency_ms or both")
        return self

    def judge(self, candidate: Candidate) -> Verdict:
        files = (path for path in candidate.subject.folder.rglob("*") if path.is_file())
        megabytes = round(sum(path.stat().st_size for path in files) / 1e6, 3)
        evidence: dict[str, Any] = {"megabytes": megabytes, "max_megabytes": self.max_megabytes}
        if self.max_megabytes is not None and megabytes > self.max_megabytes:
            return Verdict(False, f"the model has {megabytes:g} MB, more than {self.max_megabytes:g}", evidence)
        if self.max_latency_ms is None:
            return Verdict(True, f"the model has {megabytes:g} MB", evidence)
        model = candidate.subject.load(trust=self.trust)
        if model.input_example is None:
            return Verdict(False, "there is no input example to time; log it with input_example=...", evidence)
        latency = _median_latency_ms(model, self.repeats)
        evidence |= {"latency_ms": latency, "max_latency_ms": self.max_latency_ms, "repeats": self.repeats}
        verb = "takes" if latency <= self.max_latency_ms else "takes too long:"
        summary = f"a prediction {verb} {latency:g} ms (median), the budget is {self.max_latency_ms:g} ms"
        return Verdict(latency <= self.max_latency_ms, summary, evidence)


def _broken(champion: ModelInfo, candidate: ModelInfo) -> list[str]:
    if champion.signature is None:
        return []
    if candidate.signature is None:
        return ["the candidate has no signature"]
    return incompatibilities(champion.signature, candidate.signature)


def _median_latency_ms(model: Any, repeats: int) -> float:
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        model.predict(model.input_example)
        took.append(time.perf_counter() - started)
    return round(sorted(took)[len(took) // 2] * 1e3, 3)
