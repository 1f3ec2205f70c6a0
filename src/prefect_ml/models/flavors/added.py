"""Flavors that other packages add, by entry points (https://packaging.python.org/en/latest/specifications/entry-points/).

A package is imported when one of its flavors is asked for, or when an object is looked at that nobody named a
flavor for; what is wrong with it is said only to who asks for it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, cast

from prefect_ml.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.models.flavors.contract import Flavor

GROUP = "prefect_ml.flavors"
_METHODS = ("matches", "save", "load", "predict")


@dataclass(frozen=True)
class AddedFlavor:
    """The entry points that carry one name; more than one is a clash."""

    name: str
    entries: tuple[EntryPoint, ...]

    def flavor(self) -> Flavor:
        """The flavor itself.

        Raises:
            ArtifactError: several packages add this name, the package cannot be imported, or what it gives is no
                flavor of this name.
        """
        found, problem = self._loaded
        if found is None:
            raise ArtifactError(problem)
        return found

    def matching(self, model: object) -> Flavor | None:
        """The flavor, if it is sound and knows this object."""
        found, _ = self._loaded
        try:
            return found if found is not None and found.matches(model) else None
        except Exception:  # noqa: BLE001 - another package's fault must not keep ours from saving
            return None

    @functools.cached_property
    def _loaded(self) -> tuple[Flavor | None, str]:
        packages = " and ".join(sorted({_package(entry) for entry in self.entries}))
        if len(self.entries) > 1:
            return None, (
                f"The flavor {self.name!r} is added more than once, by {packages}; uninstall all but one of them."
            )
        entry = self.entries[0]
        where = f"The flavor {self.name!r} of {packages} ({entry.value})"
        try:
            found = entry.load()
        except Exception as error:  # noqa: BLE001 - importing another package raises whatever it raises
            return None, f"{where} cannot be loaded: {error!r}; update or reinstall {packages}."
        if isinstance(found, type) or not all(callable(getattr(found, method, None)) for method in _METHODS):
            return None, (
                f"{where} is no flavor but {found!r}; its entry point must name an object with `name`, "
                f"{', '.join(f'`{method}`' for method in _METHODS)}."
            )
        if getattr(found, "name", None) != self.name:
            return None, (
                f"{where} calls itself {getattr(found, 'name', None)!r}; the entry point and its flavor must have one "
                "name."
            )
        return cast("Flavor", found), ""


@functools.cache
def added_flavors() -> Mapping[str, AddedFlavor]:
    """The flavors that installed packages add, by name, in the order of the names; nothing is imported yet."""
    by_name: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        by_name.setdefault(entry.name, []).append(entry)
    return {name: AddedFlavor(name, tuple(by_name[name])) for name in sorted(by_name)}


def _package(entry: EntryPoint) -> str:
    return "an unnamed package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
