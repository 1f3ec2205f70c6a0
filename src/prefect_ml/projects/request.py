"""What is asked of a project: which entry point, with which values, in which environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

EnvironmentChoice = Literal["auto", "local"]


@dataclass(frozen=True, slots=True)
class Request:
    """A project to run.

    Attributes:
        uri: of the project, see `ProjectUri`.
        entry_point: its name, or the name of a script or notebook in the project.
        parameters: values by name.
        revision: of a repository, where the URI names none.
        environment: "auto" for what the project asks for, "local" for the Python that runs this.
        refresh: resolve the newest versions that fit, instead of those of an earlier run.
        lock: text of a lock to build instead.
        secrets: variables for the command alone, which no record and no line of its output may show.
        keep_source: whether a folder is kept as a bundle, so that the run can be had again.
        grace: seconds between the request to stop and the kill.
        experiment: name of the experiment of the run, where the runs that the command starts belong, too.
    """

    uri: str
    entry_point: str = "main"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None
    environment: EnvironmentChoice = "auto"
    refresh: bool = False
    lock: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    keep_source: bool = True
    grace: float = 10.0
    experiment: str = "Default"
