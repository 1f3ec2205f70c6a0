"""Where files are, and where they are after a move."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from urllib.parse import unquote, urlsplit

from prefect_ml.artifacts import open_artifacts
from prefect_ml.artifacts.contract import ArtifactStore
from prefect_ml.artifacts.served import ServedArtifactStore
from prefect_ml.artifacts.served_client import client_of
from prefect_ml.entities import Experiment, ModelVersion
from prefect_ml.settings import Settings
from prefect_ml.store.contract import Store
from prefect_ml.store.logged_model_names import check_model_id
from prefect_ml.store.names import check_run_id

# What artifact URIs begin with that mean a place behind a tracking server.
_SERVED = "mlflow-artifacts"


def open_place(store: Store, uri: str) -> ArtifactStore:
    """The artifacts at a URI that a store tells; behind a server, those are reached through it or in its root."""
    parts, settings = urlsplit(uri), Settings()
    if parts.scheme != _SERVED:
        return open_artifacts(uri)
    folder = parts.path.strip("/")
    if store.url.startswith(("http://", "https://")):
        return ServedArtifactStore(folder, client_of(store.url, settings.server_token))
    return open_artifacts(f"{settings.resolved_artifact_root.rstrip('/')}/{folder}")


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
    if urlsplit(uri).scheme == _SERVED:
        return True
    if store.url.startswith(("http://", "https://")):
        return False
    return uri.startswith(f"{_own_root()}/")


def absolute_place(store: Store, uri: str) -> str:
    """A place in one spelling, so that one can be looked for in another."""
    parts = urlsplit(uri)
    if parts.scheme == _SERVED and not store.url.startswith(("http://", "https://")):
        return _plain(f"{_own_root()}/{parts.path.strip('/')}")
    return _plain(uri)


def _own_root() -> str:
    root = Settings().resolved_artifact_root
    whole = root if "://" in root or root.startswith("file:") else str(Path(root).expanduser().absolute())
    return whole.rstrip("/")


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
    if parts.scheme == _SERVED:
        return f"{_SERVED}:/{parts.path.strip('/')}"
    return uri.rstrip("/")
