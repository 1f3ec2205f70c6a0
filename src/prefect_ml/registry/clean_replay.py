"""What a model predicts on its example in an environment of its own, in a process that sees nothing else of here."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import prefect_ml
from prefect_ml.models.apart import LostError, how_it_ended, kept_environment
from prefect_ml.models.process_group import run_until

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from prefect_ml.models.replay import main; "
    "main(sys.argv[2], sys.argv[3])"
)
_MAX_ANSWER = 64 << 20


def replayed_by(python: Path, request: Mapping[str, Any], until: float) -> Any:
    """The outputs, as plain JSON.

    Args:
        python: of an environment that `build_environment` made.
        request: `folder`, `origin` and `trusted`, as `models.replay` asks for them.
        until: the moment of `time.monotonic()` at which it is given up.

    Raises:
        LostError: the model fails there, or the process ended without an answer.
        TimeoutError: it took too long.
    """
    with tempfile.TemporaryDirectory(prefix="prefect-ml-clean-") as folder:
        scratch = Path(folder)
        asked, answer = scratch / "request.json", scratch / "answer.json"
        asked.write_text(json.dumps(request))
        _copy_ourselves(scratch / "ours")
        # Isolated: no folder of the user's or of this process is looked into.
        argv = [str(python), "-I", "-c", _BOOT, str(scratch / "ours"), str(asked), str(answer)]
        code, said = run_until(argv, env=kept_environment(), cwd=scratch, until=until)
        if code != 0 or not answer.is_file() or answer.stat().st_size > _MAX_ANSWER:
            last = said.splitlines()[-1][:300] if said else "it said nothing"
            raise LostError(f"{how_it_ended(code)}; its last words: {last}")
        told = json.loads(answer.read_bytes())
    if "error" in told:
        raise LostError(f"in a clean environment the model fails: {told['error']}")
    return told["outputs"]


def _copy_ourselves(target: Path) -> None:
    """Our package alone: the folder that it is in may hold everything else that is installed here."""
    own = Path(prefect_ml.__path__[0])
    shutil.copytree(own, target / own.name, ignore=shutil.ignore_patterns("__pycache__", "flows", "blocks"))
