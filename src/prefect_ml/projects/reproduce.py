"""Having a run again: what it was made of, from its record, and what of the new one is equal."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.models.uri import ModelUri
from prefect_ml.projects.request import Request
from prefect_ml.projects.run import ABOUT_FILE, DIGEST_TAG, LOCK_FILE, OUTPUT_FILE, URI_TAG
from prefect_ml.projects.uri import ProjectKind, ProjectUri
from prefect_ml.registry.resolve import resolve
from prefect_ml.tracking.capture.findings import PACKAGES, PATCH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prefect_ml.artifacts import ArtifactStore
    from prefect_ml.entities import Run
    from prefect_ml.store.contract import Store

_RUN_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_RELATIVE = 1e-9
# Written by whoever runs a project, not by the project; of the machine, not of the work.
_NOT_COMPARED = (OUTPUT_FILE, ABOUT_FILE, LOCK_FILE, PACKAGES, PATCH)
_SYSTEM = "system/"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing of two runs.

    Attributes:
        kind: "source", "lock", "param", "data", "metric", "input" or "artifact".
        name: of it.
        before: what it was; None where the first run has none.
        after: what it is; None where the second has none.
        equal: whether they are, metrics within the tolerance.
    """

    kind: str
    name: str
    before: Any
    after: Any
    equal: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What is equal of two runs.

    Attributes:
        before: id of the run that was had again.
        after: id of the new run.
        rows: everything that was compared.
    """

    before: str
    after: str
    rows: tuple[Row, ...]

    @property
    def equal(self) -> bool:
        """Whether everything is."""
        return all(row.equal for row in self.rows)

    @property
    def different(self) -> tuple[Row, ...]:
        """What is not equal."""
        return tuple(row for row in self.rows if not row.equal)


def run_of(store: Store, what: str) -> str:
    """The id of the run that a person names: its id, or a model that it made.

    Raises:
        InvalidInputError: it is neither.
        NotFoundError: there is no such model, or nobody knows its run.
    """
    if _RUN_ID.fullmatch(what):
        return what
    if not what.startswith("models:/"):
        raise InvalidInputError(f"{what[:100]!r} is no id of a run and no model, such as models:/churn/7.")
    ModelUri.parse(what)
    found = resolve(store, what)
    if found.name is None or found.version is None:
        raise NotFoundError(f"{what!r} is no version of a registered model, so nobody knows its run.")
    run_id = store.get_model_version(found.name, found.version).run_id
    if not run_id:
        raise NotFoundError(f"{what!r} was registered without a run.")
    return run_id


def request_of(store: Store, run_id: str) -> Request:
    """What was asked when a run was made, so that it can be asked again: same source, lock and parameters.

    Raises:
        CorruptArtifactError: what the run kept of it cannot be read.
        NotFoundError: there is no such run, or it is none of a project, or its source was not kept.
    """
    run = store.get_run(run_id)
    artifacts = open_artifacts(run.artifact_uri)
    try:
        about = _about(artifacts)
    except NotFoundError as error:
        raise NotFoundError(
            f"The run {run_id} is none of a project; `prefect-ml run` makes runs that can be had again."
        ) from error
    uri = ProjectUri.parse(run.tags.get(URI_TAG) or about["uri"])
    if uri.kind is ProjectKind.FOLDER:
        if not (digest := run.tags.get(DIGEST_TAG)):
            raise NotFoundError(f"The folder of the run {run_id} was not kept; run it from a repository, or keep it.")
        uri = ProjectUri(ProjectKind.BUNDLE, digest, None, uri.subdirectory)
    names = {each.name for each in artifacts.list("project")}
    lock = artifacts.read(LOCK_FILE).decode() if LOCK_FILE in names and about["environment"] != "local" else None
    return Request(
        str(uri),
        about["entry_point"],
        about["parameters"],
        environment="local" if about["environment"] == "local" else "auto",
        lock=lock,
    )


def secrets_of(store: Store, run_id: str) -> tuple[str, ...]:
    """The variables that a project's command had as secrets; what was in them is kept nowhere.

    Raises:
        CorruptArtifactError: what the run kept of it cannot be read.
        NotFoundError: there is no such run, or it is none of a project.
    """
    return tuple(_about(open_artifacts(store.get_run(run_id).artifact_uri)).get("secrets", ()))


def is_of_project(run: Run) -> bool:
    """Whether a run is that of a project's command."""
    return URI_TAG in run.tags


def compare(store: Store, before: str, after: str, *, tolerance: float = _RELATIVE, also: Sequence[Row] = ()) -> Report:
    """What is equal of two runs.

    Args:
        store: has both.
        before: id of the first.
        after: id of the second.
        tolerance: relative difference up to which metrics are equal.
        also: what is known of their sources and locks besides.
    """
    runs = store.get_run(before), store.get_run(after)
    files = [open_artifacts(run.artifact_uri) for run in runs]
    rows = [
        *also,
        *source_rows(*runs),
        *_mappings("lock", *(_lock(each) for each in files)),
        *_mappings("param", runs[0].params, runs[1].params),
        *_mappings("data", *(_data(each) for each in files)),
        *_metrics(runs, tolerance),
        *_mappings("input", *(_inputs(run) for run in runs)),
        *_mappings("artifact", *(dict(_digests(each)) for each in files)),
    ]
    return Report(before, after, tuple(rows))


def source_rows(before: Run, after: Run) -> Iterator[Row]:
    """Whether the source of two runs is the same, where they are those of commands of projects."""
    found = [run.tags.get(DIGEST_TAG) or run.tags.get(URI_TAG) for run in (before, after)]
    if is_of_project(before):
        yield Row("source", "source", found[0], found[1], found[0] == found[1])


def _lock(artifacts: ArtifactStore) -> dict[str, str | None]:
    return {each.name: each.digest or _digest(artifacts, each.name) for each in artifacts.list("project")
            if each.name == LOCK_FILE}  # fmt: skip


def _mappings(kind: str, before: Any, after: Any) -> Iterator[Row]:
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        yield Row(kind, name, was, now, was == now)


def _metrics(runs: tuple[Run, Run], tolerance: float) -> Iterator[Row]:
    before, after = runs[0].metrics, runs[1].metrics
    for name in sorted({*before, *after}):
        if name.startswith(_SYSTEM):
            continue
        was, now = before.get(name), after.get(name)
        equal = was is not None and now is not None and _close(was, now, tolerance)
        yield Row("metric", name, was, now, equal)


def _close(was: float, now: float, tolerance: float) -> bool:
    return was == now or math.isclose(was, now, rel_tol=tolerance) or (math.isnan(was) and math.isnan(now))


def _inputs(run: Run) -> dict[str, str]:
    return {each.dataset.name: each.dataset.digest for each in run.inputs}


def _data(artifacts: ArtifactStore) -> dict[str, str]:
    try:
        found: dict[str, str] = _about(artifacts).get("data", {})
    except NotFoundError:
        return {}
    return found


def _about(artifacts: ArtifactStore) -> dict[str, Any]:
    """What the run kept of what was asked; anybody who may write its artifacts may have written it."""
    try:
        about = json.loads(artifacts.read(ABOUT_FILE))
    except (ValueError, RecursionError):
        about = None
    kinds = {"uri": str, "entry_point": str, "environment": str, "parameters": dict}
    if not isinstance(about, dict) or not all(isinstance(about.get(key), kind) for key, kind in kinds.items()):
        raise CorruptArtifactError(f"{ABOUT_FILE} of the run does not say what was run; it was changed since.")
    if not isinstance(about.get("data", {}), dict):
        raise CorruptArtifactError(f"{ABOUT_FILE} of the run does not say which data it had; it was changed since.")
    secrets = about.get("secrets", [])
    if not isinstance(secrets, list) or not all(isinstance(each, str) for each in secrets):
        raise CorruptArtifactError(f"{ABOUT_FILE} of the run does not say which secrets it had; it was changed since.")
    return about


def _digests(artifacts: ArtifactStore, folder: str = "") -> Iterator[tuple[str, str | None]]:
    for each in artifacts.list(folder):
        if each.is_folder:
            yield from _digests(artifacts, each.name)
        elif each.name not in _NOT_COMPARED:
            yield each.name, each.digest or _digest(artifacts, each.name)


def _digest(artifacts: ArtifactStore, name: str) -> str:
    """The digest of a file whose own is not listed, or that a client wrote past the store."""
    with artifacts.reader(name) as reader:
        if reader.info.digest is not None:
            return reader.info.digest
        digest = hashlib.sha256()
        for piece in reader.pieces():
            digest.update(piece)
        return f"sha256:{digest.hexdigest()}"
