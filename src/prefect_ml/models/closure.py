"""What some top-level modules need to be imported elsewhere: distributions in exact versions, and code of one's own.

A distribution's metadata names what it requires (https://packaging.python.org/en/latest/specifications/core-metadata/);
that is followed to the end, with the extras asked for and the markers that hold here. What came from no index (modules
of one's own, and distributions that were installed from a folder or a repository) cannot be restored by its version,
so its code goes along, and the modules that its code imports count as well.
"""

from __future__ import annotations

import functools
import json
import sys
from collections import deque
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from typing import TYPE_CHECKING

from prefect_ml.models.own_code import imported_by, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.requirements import Requirement

# Our own code goes along wherever a model is loaded by us.
OURS = "prefect-ml"


@dataclass(slots=True)
class Needed:
    """Versions by the distributions' names, and top-level modules.

    Attributes:
        direct: distributions of the modules that were asked for.
        further: distributions that these require.
        own: modules whose code has to go along.
        absent: requirements that are not installed here, as their metadata writes them.
    """

    direct: dict[str, str] = field(default_factory=dict)
    further: dict[str, str] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)

    @property
    def pins(self) -> list[str]:
        """`name==version` of all distributions, sorted."""
        return sorted(f"{name}=={version}" for name, version in {**self.further, **self.direct}.items())


def needed_for(modules: Iterable[str]) -> Needed:
    """All that these top-level modules need; those of the standard library and those that are not here need nothing."""
    search = _Search()
    search.take(modules)
    search.follow()
    return search.needed


def distributions_by_module() -> dict[str, list[str]]:
    """The names of the distributions that provide each top-level module, in any order and once each."""
    return _by_module()


@functools.cache
def _by_module() -> dict[str, list[str]]:
    return {module: list(dict.fromkeys(names)) for module, names in packages_distributions().items()}


class _Search:
    """Follows requirements, each distribution once with each of its extras."""

    def __init__(self) -> None:
        self.needed = Needed()
        self._seen: set[tuple[str, str]] = set()
        self._waiting: deque[tuple[str, str]] = deque()

    def take(self, modules: Iterable[str]) -> None:
        """Sort modules into distributions and code of one's own; what that code imports is taken as well."""
        todo, done = deque(sorted(modules)), set(self.needed.own)
        while todo:
            module = todo.popleft()
            if module in done or module in sys.stdlib_module_names or module in ("", "__main__"):
                continue
            done.add(module)
            found = [dist for name in _by_module().get(module, ()) if (dist := _installed(name)) is not None]
            indexed = [dist for dist in found if not _came_from_no_index(dist)]
            for dist in indexed:
                self.needed.direct[dist.name] = dist.version
                self.needed.further.pop(dist.name, None)
            for dist in found:
                self._visit(dist.name, ())
            if not indexed and place_of(module) is not None:
                self.needed.own.add(module)
                todo.extend(sorted(imported_by(module) - done))

    def follow(self) -> None:
        while self._waiting:
            name, extra = self._waiting.popleft()
            for requirement in _requirements(name):
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    self._require(requirement)

    def _require(self, requirement: Requirement) -> None:
        found = _installed(requirement.name)
        if found is None:
            self.needed.absent.add(str(requirement))
            return
        if _came_from_no_index(found):
            self.take(_modules_of(found))
        elif found.name not in self.needed.direct:
            self.needed.further[found.name] = found.version
        self._visit(found.name, requirement.extras)

    def _visit(self, name: str, extras: Iterable[str]) -> None:
        for step in ((name, extra) for extra in ("", *sorted(extras))):
            if step not in self._seen:
                self._seen.add(step)
                self._waiting.append(step)


@functools.lru_cache(maxsize=4096)
def _distribution(name: str) -> Distribution:
    return distribution(name)


def _installed(name: str) -> Distribution | None:
    try:
        return _distribution(name)
    except PackageNotFoundError:
        return None


@functools.lru_cache(maxsize=4096)
def _came_from_no_index(dist: Distribution) -> bool:
    """By PEP 610: installed from a folder, editable or not, or from a repository of code."""
    if dist.name.lower().replace("_", "-") == OURS:
        return False
    try:
        origin = json.loads(dist.read_text("direct_url.json") or "{}")
    except ValueError:
        return False
    return isinstance(origin, dict) and ("dir_info" in origin or "vcs_info" in origin)


def _modules_of(dist: Distribution) -> list[str]:
    named = (dist.read_text("top_level.txt") or "").split()
    provided = [module for module, names in _by_module().items() if dist.name in names]
    return named or provided or [dist.name.replace("-", "_")]


@functools.lru_cache(maxsize=4096)
def _requirements(name: str) -> tuple[Requirement, ...]:
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - only when a model is saved

    found = []
    for line in _distribution(name).requires or ():
        try:
            found.append(Requirement(line))
        except InvalidRequirement:
            continue  # of before there was a standard
    return tuple(found)
