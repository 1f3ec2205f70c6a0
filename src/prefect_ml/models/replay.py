"""Predicting on a model's own input example, also in another environment: imports little, so that little is needed."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.folder import load_model
from prefect_ml.models.outputs import plain_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

# What has a process apart replay a model.
REPLAY = f"{__name__}:answer"


def replay(folder: Path, origin: str, trusted_origins: Sequence[str]) -> Any:
    """What the model in a folder predicts on its input example, as plain JSON; run it where the process may end.

    Raises:
        InvalidInputError: it keeps none.
        ArtifactError: it cannot be loaded.
        UntrustedModelError: loading would run code from an origin that is not trusted.
    """
    model = load_model(folder, origin=origin, trusted_origins=trusted_origins, vouched=True)
    if model.input_example is None:
        raise InvalidInputError("The model keeps no input example to replay; log it with input_example=....")
    return plain_outputs(model.predict(model.input_example))


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of the model in the request's `folder`, which comes from its `origin`; `trusted` are origins."""
    return {"outputs": replay(Path(request["folder"]), request["origin"], request["trusted"])}


def main(request: str, answered: str) -> None:
    """Answer the request in one file by another one; ends at once when stdin does, with who started it."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    asked = json.loads(Path(request).read_bytes())
    found: dict[str, Any]
    try:
        found = answer(asked)
    except BaseException as error:  # noqa: BLE001 - a model under test may raise anything, SystemExit too
        found = {"error": f"{type(error).__name__}: {error}"}
    part = Path(f"{answered}.part")
    part.write_text(json.dumps(found))
    part.replace(answered)
    # A model may have left threads that never end.
    os._exit(0)


def _end_with_the_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)
