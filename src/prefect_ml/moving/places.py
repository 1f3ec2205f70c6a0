"""Where files are, and where they are after a move."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from urllib.parse import unquote, urlsplit

from prefect_ml.entities import Experiment, ModelVersion
from prefect_ml.store.contract import Store
from prefect_ml.store.logged_model_names import check_model_id
from prefect_ml.store.names import check_run_id
from prefect_ml.store.places import SERVED, is_remote, open_place, own_root

__all__ = ["Moves", "absolute_place", "is_own_place", "logged_model_place", "open_place", "run_place"]


def run_place(experiment: Experiment, run_id: str) -> str:
    """The root of the files of a run of an experiment.

    Raises:
        InvalidNameError: the id is none, and could name a place in another run.
    """
    return f"{experiment.artifact_location.rstrip('/')}/{check_run_id(run_id)}/artifacts"


def logged_model_place(experiment: Experiment, model_id: str) -> str:
    """The root of the files of a logged model of an experiment; `InvalidNameError` as for runs."""
    return f"{experiment.artifact_location.rstrip('/')}/models/{check_model_id(model_id)}/artifacts"


def is_own_place(store: Store, uri: str) -> bool:
    """Whether files are below the artifact root or behind the server, not at a place that a client named."""
    if urlsplit(uri).scheme == SERVED:
        return True
    if is_remote(store):
        return False
    return uri.startswith(f"{_absolute_root(store)}/")


def absolute_place(store: Store, uri: str) -> str:
    """A place in one spelling, so that one can be looked for in another."""
    parts = urlsplit(uri)
    if parts.scheme == SERVED and not is_remote(store):
        return _plain(f"{_absolute_root(store)}/{parts.path.strip('/')}")
    return _plain(uri)


def _absolute_root(store: Store) -> str:
    root = own_root(store)
    return root if "://" in root or root.startswith("file:") else str(Path(root).expanduser().absolute())


class Moves:
    """What became of what was there.

    Attributes:
        experiments: the ids of experiments here, by those that they had there.
        refused: the ids of runs and logged models that were not taken over.
    """

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.refused: set[str] = set()
        self._roots: dict[str, str] = {}
        self._by_id: dict[str, str] = {}
        self._new: set[str] = set()

    def add(self, id: str, old: str, new: str) -> None:
        """Note that a run or logged model with its root at `old` has it at `new`."""
        self._by_id[id] = new
        self._new.add(new)
        if old:
            self._roots[_plain(old)] = new

    def within(self, place: str) -> tuple[str, str] | None:
        """The root of the moved files that a place is in, and its name there; None when it is in none."""
        root = place
        while root and root not in self._new:
            root = root.rpartition("/")[0]
        return (root, place[len(root) + 1 :]) if root else None

    def moved(self, uri: str) -> str | None:
        """Where something below one of the roots is now; None when it lies below none."""
        parts: list[str] = []
        rest = _plain(uri)
        while rest:
            if rest in self._roots:
                return "/".join([self._roots[rest].rstrip("/"), *reversed(parts)])
            rest, slash, part = rest.rpartition("/")
            if not slash:
                return None
            parts.append(part)
        return None

    def version(self, version: ModelVersion, others: dict[tuple[str, int], ModelVersion]) -> ModelVersion:
        """A version whose source and location are those after the move.

        Args:
            version: as it was.
            others: versions that were moved already, by name and number; sources may name them.
        """
        source, location = version.source, ""
        kind, _, rest = source.partition(":/")
        name, _, path = rest.strip("/").partition("/")
        if kind == "models" and (name, path) in _texts(others):
            other = others[name, int(path)]
            location = other.location or other.source
        elif kind == "models":
            location = self._by_id.get(name, "") if not path else self.moved(version.location) or version.location
        elif kind == "runs" and name in self._by_id:
            location = f"{self._by_id[name]}/{path}"
        else:
            source = self.moved(source) or source
            location = "" if not version.location else self.moved(version.location) or version.location
        return dataclasses.replace(version, source=source, location=location)


def _texts(others: dict[tuple[str, int], ModelVersion]) -> set[tuple[str, str]]:
    return {(name, str(number)) for name, number in others}


def _plain(uri: str) -> str:
    """A place in one spelling: paths without `file:`, places behind a server without its address."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return unquote(parts.path).rstrip("/")
    if parts.scheme == SERVED:
        return f"{SERVED}:/{parts.path.strip('/')}"
    return uri.rstrip("/")
