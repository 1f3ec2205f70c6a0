"""What is found out about one run: most of it in the background after its start, the rest at its end."""

from __future__ import annotations

import hashlib
import logging
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prefect_ml.tracking.capture import environment, git, notebook, patch
from prefect_ml.tracking.capture.sampler import sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prefect_ml.settings import Settings

logger = logging.getLogger(__name__)

PATCH = "source/changes.patch"
PATCH_DIGEST = "prefect_ml.source.git.diff_digest"
NOTEBOOK = "source/notebook.ipynb"
NOTEBOOK_DIGEST = "prefect_ml.source.notebook_digest"
PACKAGES = "environment/packages.txt"
PACKAGES_DIGEST = "prefect_ml.environment_digest"
_OF_THE_CODE = ("git", "diff", "notebook", "packages")


@dataclass(frozen=True, slots=True)
class Found:
    """Tags by key, and the content of artifacts by name."""

    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def __or__(self, other: Found) -> Found:
        return Found(self.tags | other.tags, self.files | other.files)


class Capture:
    """Finds out what the settings ask for. Nothing here raises.

    Args:
        settings: what to record, and how often to sample.
        folder: where the code lies; None where it is none of this process's.
    """

    def __init__(self, settings: Settings, folder: str | None) -> None:
        self._things = tuple(each for each in settings.capture if folder is not None or each not in _OF_THE_CODE)
        self._interval = settings.system_metrics_interval if "system" in self._things else 0.0
        self._folder = folder or ""
        self._run_id = ""
        self._modules = 0
        self._packages = ""

    def begin(self, run_id: str, record: Callable[[Mapping[str, float], int], None]) -> None:
        """Sample for the run until `at_end`; `record` takes metrics and a step."""
        if self._interval > 0:
            self._run_id = run_id
            sampler().watch(run_id, self._interval, record)

    def at_start(self) -> Found:
        """What may take a while: repository, packages and machine."""
        return self._found({"git": self._git, "diff": self._diff, "packages": self._imported, "host": self._host})

    def at_end(self) -> Found:
        """What is known at the end alone: executed cells, and packages that were imported meanwhile."""
        if self._run_id:
            sampler().leave(self._run_id)
        return self._found({"notebook": self._notebook, "packages": self._imported})

    def _found(self, parts: Mapping[str, Callable[[], Found]]) -> Found:
        found = Found()
        for thing, part in parts.items():
            if thing in self._things:
                try:
                    found |= part()
                except Exception:  # what a run came from must not decide how it ends
                    logger.warning("What the run came from is not recorded whole: %s.", thing, exc_info=True)
        return found

    def _git(self) -> Found:
        return Found(git.git_tags(self._folder))

    def _diff(self) -> Found:
        return _file(PATCH, PATCH_DIGEST, patch.changes(self._folder).encode("utf-8", "replace"))

    def _host(self) -> Found:
        return Found(environment.host_tags())

    def _notebook(self) -> Found:
        return _file(NOTEBOOK, NOTEBOOK_DIGEST, notebook.snapshot())

    def _imported(self) -> Found:
        if len(sys.modules) == self._modules:
            return Found()
        self._modules = len(sys.modules)
        known, self._packages = self._packages, environment.packages()
        return Found() if known == self._packages else _file(PACKAGES, PACKAGES_DIGEST, self._packages.encode())


def _file(name: str, digest_tag: str, content: bytes | None) -> Found:
    if not content:
        return Found()
    return Found({digest_tag: f"sha256:{hashlib.sha256(content).hexdigest()}"}, {name: content})
