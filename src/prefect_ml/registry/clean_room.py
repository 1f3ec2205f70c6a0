"""The gate that loads and replays a model where nothing is installed but what it asks for."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import Field

from prefect_ml.models.apart import LostError, run_apart
from prefect_ml.models.lock import read_hashes
from prefect_ml.models.outputs import difference, read_outputs
from prefect_ml.models.replay import REPLAY
from prefect_ml.registry.clean_replay import replayed_by
from prefect_ml.registry.environments import build_environment, loader_needs, read_pins
from prefect_ml.registry.gate import Candidate, GateBase, GateName, Subject, Verdict

_SHOWN = 200
_DAY = 24 * 3600.0


class CleanRoom(GateBase):
    """In an environment of its own requirements alone, the model loads and predicts what it did when it was saved.

    The environment is built by uv from the pins of requirements.txt; uv's own settings (`UV_DEFAULT_INDEX` and others)
    say from where. Of ours, the running code goes along with what it imports (pydantic, PyYAML). Labels and whole
    numbers must be equal, other numbers within `tolerance`. A model that was saved without its outputs is compared with
    what it predicts here.

    Attributes:
        tolerance: absolute below 1, relative above.
        trust_pickle: whether the operator's trust (`PREFECT_ML_TRUSTED_ORIGINS`) holds in there; without it, or without
            this, no pickle is loaded.
        allow_builds: whether distributions without a wheel may be built, which runs their code.
    """

    type: Literal["clean_room"] = "clean_room"
    name: GateName = "clean_room"
    timeout: Annotated[float, Field(gt=0, le=_DAY)] = 1800.0
    tolerance: Annotated[float, Field(ge=0, le=1)] = 1e-5
    trust_pickle: bool = False
    allow_builds: bool = False

    def judge(self, candidate: Candidate) -> Verdict:
        until = time.monotonic() + self.timeout
        subject = candidate.subject
        pins = read_pins(subject.folder)
        evidence: dict[str, Any] = {"requirements": [f"{n}=={v}" for n, v in list(pins.items())[:_SHOWN]]}
        if subject.info.input_example is None:
            summary = "the model keeps no input example to replay; log it with input_example=..."
            return Verdict(False, summary, evidence)
        try:
            started = time.monotonic()
            python, installed = build_environment(
                pins,
                subject.settings.cache_folder,
                hashes=read_hashes(subject.folder),
                also=loader_needs(subject.folder),
                python=subject.info.python_version,
                builds=self.allow_builds,
                until=until,
            )
            evidence |= {
                "python": subject.info.python_version,
                "installed": list(installed[:_SHOWN]),
                "build_seconds": round(time.monotonic() - started, 1),
            }
            found = replayed_by(python, self._request(subject), until)
        except TimeoutError:
            raise LostError(
                f"the clean room took longer than {self.timeout:g} seconds; give it a longer `timeout`"
            ) from None
        kept = read_outputs(subject.folder)
        evidence["compared_with"] = "the outputs kept with the model" if kept is not None else "this environment"
        if kept is None:
            kept = self._here(subject, until)
        if (differs := difference(kept, found, self.tolerance)) is not None:
            return Verdict(False, f"in a clean environment the model predicts something else: {differs}", evidence)
        where = f"with {len(installed)} distributions, built from {len(pins)} pins"
        return Verdict(True, f"the model loads in a clean environment {where}, and predicts the same", evidence)

    def _request(self, subject: Subject) -> dict[str, Any]:
        trusted = list(subject.trusted_origins) if self.trust_pickle else []
        return {"folder": str(subject.folder), "origin": subject.uri, "trusted": trusted}

    def _here(self, subject: Subject, until: float) -> Any:
        request = {"kind": REPLAY, **self._request(subject)}
        flavors = [str(name) for name in subject.info.flavors]
        return run_apart(request, flavors, until - time.monotonic(), self.timeout)["outputs"]
