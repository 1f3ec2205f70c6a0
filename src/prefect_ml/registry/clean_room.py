"""The gate that loads and replays a model where nothing is installed but what it asks for."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

import prefect_ml
from prefect_ml.models.outputs import difference, read_outputs
from prefect_ml.registry.apart import LostError, how_it_ended, kept_environment, run_apart
from prefect_ml.registry.environments import build_environment, read_pins, run_until
from prefect_ml.registry.gate import Candidate, GateBase, GateName, Subject, Verdict

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from prefect_ml.models.replay import main; "
    "main(sys.argv[2], sys.argv[3])"
)
_MAX_ANSWER = 64 << 20
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
                pins, subject.settings.cache_folder, python=subject.info.python_version, builds=self.allow_builds,
                until=until,
            )  # fmt: skip
            evidence |= {
                "python": subject.info.python_version,
                "installed": list(installed[:_SHOWN]),
                "build_seconds": round(time.monotonic() - started, 1),
            }
            found = self._replayed(python, subject, until)
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
        trusted = list(subject.settings.trusted_origins) if self.trust_pickle else []
        return {"folder": str(subject.folder), "origin": subject.uri, "trusted": trusted}

    def _replayed(self, python: Path, subject: Subject, until: float) -> Any:
        with tempfile.TemporaryDirectory(prefix="prefect-ml-clean-") as folder:
            scratch = Path(folder)
            request, answer = scratch / "request.json", scratch / "answer.json"
            request.write_text(json.dumps(self._request(subject)))
            _copy_ourselves(scratch / "ours")
            # Isolated: no folder of the user's or of this process is looked into.
            argv = [str(python), "-I", "-c", _BOOT, str(scratch / "ours"), str(request), str(answer)]
            code, said = run_until(argv, env=kept_environment(), cwd=scratch, until=until)
            if code != 0 or not answer.is_file() or answer.stat().st_size > _MAX_ANSWER:
                last = said.splitlines()[-1][:300] if said else "it said nothing"
                raise LostError(f"{how_it_ended(code)}; its last words: {last}")
            told = json.loads(answer.read_bytes())
        if "error" in told:
            raise LostError(f"in a clean environment the model fails: {told['error']}")
        return told["outputs"]

    def _here(self, subject: Subject, until: float) -> Any:
        request = {"kind": "replay", **self._request(subject)}
        flavors = [str(name) for name in subject.info.flavors]
        return run_apart(request, flavors, until - time.monotonic(), self.timeout)["outputs"]


def _copy_ourselves(target: Path) -> None:
    """Our package alone: the folder that it is in may hold everything else that is installed here."""
    own = Path(prefect_ml.__path__[0])
    shutil.copytree(own, target / own.name, ignore=shutil.ignore_patterns("__pycache__", "flows", "blocks"))
