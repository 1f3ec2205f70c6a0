"""Which file the parameters of a URL name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.entities import LifecycleStage
from prefect_ml.errors import InactiveError, InvalidInputError
from prefect_ml.protocol.artifacts.places import of_logged_model, of_run, of_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.protocol.backend import Backend


def file_of_run(here: Backend, query: Mapping[str, str]) -> str:
    """The file `path` of the run `run_id`, or `run_uuid` as it was called once."""
    run_id = query.get("run_id") or _needed(query, "run_uuid", "run_id")
    return of_run(here, run_id, _needed(query, "path"))


def file_of_version(here: Backend, query: Mapping[str, str]) -> str:
    """The file `path` of a model version."""
    version = _needed(query, "version")
    if not (version.isascii() and version.isdigit()):
        raise InvalidInputError(f"Parameter 'version' must be an integer, got '{version}'.")
    return of_version(here, _needed(query, "name"), int(version), _needed(query, "path"))


def file_of_logged_model(here: Backend, query: Mapping[str, str]) -> str:
    """The file `artifact_file_path` of the logged model `model_id`."""
    return of_logged_model(here, query["model_id"], _needed(query, "artifact_file_path"))


def new_file_of_run(here: Backend, query: Mapping[str, str]) -> str:
    """Where an upload to a run goes.

    Raises:
        InactiveError: the run is deleted.
    """
    for name in ("run_uuid", "path"):
        if not query.get(name):
            raise InvalidInputError(f"Request must specify {name}. Send it in the URL, and the file as the body.")
    run = here.store.get_run(query["run_uuid"])
    if run.lifecycle_stage != LifecycleStage.ACTIVE:
        raise InactiveError(
            f"The run {run.run_id} must be in the 'active' state. Current state is deleted. Restore it first."
        )
    return of_run(here, run.run_id, query["path"])


def _needed(query: Mapping[str, str], name: str, called: str = "") -> str:
    if value := query.get(name):
        return value
    raise InvalidInputError(f"Missing value for required parameter '{called or name}'. Send it in the URL.")
