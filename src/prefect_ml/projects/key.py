"""What tells whether a step of a project has changed: its source, entry point, values, and the data that they name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.projects.bundle import digest_of
from prefect_ml.projects.data import content_of
from prefect_ml.projects.plan import make_plan
from prefect_ml.settings import Settings

if TYPE_CHECKING:
    from prefect_ml.projects.request import Request


def key_of(request: Request, settings: Settings | None = None) -> str:
    """SHA-256 in hex over all that a step is made of; equal for equal steps on any machine with the same data.

    Args:
        request: the step.
        settings: where commits are kept; read from the environment by default.

    Raises:
        InvalidInputError: something of the request cannot be meant.
        NotFoundError: something of it is not there.
    """
    plan = make_plan(request, settings or Settings())
    source = plan.source.commit or digest_of(plan.source.folder)
    # A file is what is in it, wherever it lies.
    values = dict(plan.values) | {
        name: content_of(Path(plan.values[name]))
        for name, each in plan.entry_point.parameters.items()
        if each.type == "path" and Path(plan.values[name]).exists()
    }
    told = [source, plan.source.uri.subdirectory, request.entry_point, request.environment, request.lock, values]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
