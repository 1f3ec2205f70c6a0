"""The environment of a run of a tracked flow or script, from the packages that it recorded."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from prefect_ml.errors import NotFoundError
from prefect_ml.projects.definition import PythonEnvironment
from prefect_ml.projects.locks import ALONG, PYTHON_LINE, lock_of
from prefect_ml.projects.python_env import checked, checked_python
from prefect_ml.tracking.capture import PYTHON
from prefect_ml.tracking.capture.findings import PACKAGES

if TYPE_CHECKING:
    from pathlib import Path

    from prefect_ml.artifacts import ArtifactStore
    from prefect_ml.entities import Run

_OURS = "prefect-ml"


def recorded_pins(run: Run, artifacts: ArtifactStore) -> list[str]:
    """`name==version` of what the run had imported.

    Raises:
        NotFoundError: it recorded none.
        InvalidInputError: a line is no requirement.
    """
    try:
        text = artifacts.read(PACKAGES).decode("utf-8", "replace")
    except NotFoundError as error:
        raise NotFoundError(
            f"The run {run.run_id} recorded no packages, so its environment cannot be built; use --environment local."
        ) from error
    return [line for each in text.splitlines() for line in checked(each, PACKAGES)]


def is_here(run: Run, pins: list[str]) -> bool:
    """Whether the Python that runs this is that of the run, and has each of these in the same version."""
    if run.tags.get(PYTHON) != platform.python_version():
        return False
    return all(_installed(pin.partition("==")[0]) == pin.partition("==")[2] for pin in pins)


def recorded_lock(run: Run, pins: list[str], folder: Path, cache: Path) -> str:
    """A lock of these and of all that they need, resolved now; its first lines say which Python.

    Our own package goes along from here where it is the one of the run, released or not.

    Raises:
        ArtifactError: no index has them, or they do not fit each other.
    """
    python = checked_python(run.tags.get(PYTHON, platform.python_version()))
    wanted = sorted(pins)
    head = [f"{PYTHON_LINE}{python}"]
    if (own := f"{_OURS}=={version(_OURS)}") in wanted:
        wanted.remove(own)
        known = {canonicalize_name(pin.partition("==")[0]) for pin in wanted}
        needs = [Requirement(line) for line in requires(_OURS) or ()]
        # As they are here, where the run did not import them.
        wanted += sorted(
            f"{need.name}=={version(need.name)}"
            for need in needs
            if canonicalize_name(need.name) not in known
            and (need.marker is None or need.marker.evaluate({"extra": ""}))
        )
        head.append(ALONG)
    other = None if python == platform.python_version() else python
    lock = lock_of(PythonEnvironment(other, tuple(wanted)), folder, cache)
    return "".join(f"{line}\n" for line in head) + lock.text


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
