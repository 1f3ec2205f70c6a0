"""What a run was made of, a project's or a tracked flow's or script's, so that it can be had again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from packaging.utils import canonicalize_name

from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.projects.recorded_lock import is_here, recorded_lock, recorded_pins
from prefect_ml.projects.recorded_source import RecordedSource, rebuild
from prefect_ml.projects.reproduce import Row, is_of_project, request_of, secrets_of, source_rows
from prefect_ml.projects.request import Request
from prefect_ml.projects.run import DIGEST_TAG, ENTRY_POINT_TAG, LOCK_FILE
from prefect_ml.store.names import MAX_PARAM_VALUE
from prefect_ml.tracking.capture import COMMIT, PYTHON
from prefect_ml.tracking.capture.findings import PACKAGES
from prefect_ml.tracking.start import PARENT_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect_ml.entities import Run
    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store

# "auto" is the Python here where it has the same packages, and an environment of its own otherwise.
Where = Literal["auto", "build", "local"]
_FLOW_TAG = "prefect_ml.flow_name"


@dataclass(frozen=True, slots=True)
class Again:
    """How a run is had again.

    Attributes:
        before: its id.
        request: what is asked.
        source: of a tracked flow or script, what its source was rebuilt from; None where a project was recorded.
        step: whether the run is one that the command makes, and not the one of the command.
        command: id of the old run of a project's command, where it is another one.
        pins: packages of a tracked flow or script.
        secrets: variables that a project's command had as secrets.
    """

    before: str
    request: Request
    source: RecordedSource | None = None
    step: bool = False
    command: str | None = None
    pins: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


def again_of(
    store: Store, run_id: str, settings: Settings, *, where: Where = "auto", repository: str | None = None
) -> Again:
    """How a run is had again: the same source, lock and parameters.

    A run within that of a project is had again by running the project. A run of a tracked flow calls the flow with its
    parameters, at its commit with the changes since, in the Python and packages that it recorded; one of a script runs
    the script, whose arguments nobody recorded.

    Args:
        store: has the run.
        run_id: of it.
        settings: where commits, bundles and locks are kept.
        where: what it runs in.
        repository: that has the commit, see `rebuild`.

    Raises:
        NotFoundError: there is no such run, or its source or packages are nowhere.
        InvalidInputError: its record is not whole.
        CorruptArtifactError: its record was changed.
        ArtifactError: its packages are on no index.
    """
    run = store.get_run(run_id)
    around: Run | None = run
    while around is not None and not is_of_project(around):
        parent = around.tags.get(PARENT_TAG)
        around = store.get_run(parent) if parent else None
    if around is not None:
        step = around.run_id != run_id
        request, secrets = request_of(store, around.run_id), secrets_of(store, around.run_id)
        return Again(run_id, request, step=step, command=around.run_id if step else None, secrets=secrets)
    artifacts = open_artifacts(run.artifact_uri)
    source = rebuild(run, artifacts, settings, repository)
    pins = recorded_pins(run, artifacts) if where != "local" else []
    here = where == "local" or (where == "auto" and is_here(run, pins))
    cache = settings.cache_folder
    request = Request(
        str(source.uri),
        source.entry_point,
        _parameters(run) if _is_flow(run) else {},
        environment="local" if here else "auto",
        lock=None if here else recorded_lock(run, pins, cache, cache),
    )
    return Again(run_id, request, source, _is_flow(run), pins=tuple(pins))


def made_by(store: Store, again: Again, after: str) -> str:
    """The run that is had again, of those that the command of a run made.

    Raises:
        NotFoundError: it made none like it.
    """
    if not again.step:
        return after
    before = store.get_run(again.before)
    found = [each for each in _below(store, after) if _key(each) == _key(before)]
    if not found:
        raise NotFoundError(f"The run {after} ended well, and nothing in it is like the run {again.before}.")
    return next((each for each in found if each.params == before.params), found[0]).run_id


def made_of(store: Store, again: Again, outer: str, after: str) -> list[Row]:
    """Whether source, Python and packages of the new run are those of the old one, where the runs do not say it.

    Args:
        store: has the runs.
        again: how it was had again.
        outer: the run of the command.
        after: the run that is had again.
    """
    if again.source is None:
        return [] if again.command is None else [*source_rows(store.get_run(again.command), store.get_run(outer))]
    before, command, now = (store.get_run(each) for each in (again.before, outer, after))
    wanted = again.source.uri
    same = command.tags.get(DIGEST_TAG) == wanted.location or command.tags.get(COMMIT) == wanted.revision is not None
    ran = str(again.source) if same else command.tags.get(DIGEST_TAG) or command.tags.get(COMMIT)
    rows = [Row("source", "source", str(again.source), ran, same)]
    pythons = [before.tags.get(PYTHON), now.tags.get(PYTHON) if again.step else None]
    if pythons[1] is not None:
        rows.append(Row("lock", "python", pythons[0], pythons[1], pythons[0] == pythons[1]))
    versions = _versions(command, now)
    told = [(pin.partition("==")[0], pin.partition("==")[2]) for pin in again.pins]
    different = [(name, was) for name, was in told if versions.get(canonicalize_name(name), was) != was]
    rows += [Row("lock", name, was, versions[canonicalize_name(name)], equal=False) for name, was in different]
    if told and not different:
        rows.append(Row("lock", "packages", len(told), len(told), equal=True))
    return rows


def _below(store: Store, run_id: str) -> Iterator[Run]:
    """The runs within a run, oldest first, those within these after each."""
    experiments = [each.experiment_id for each in store.search_experiments(max_results=50_000).items]
    within = f"tags.`{PARENT_TAG}` = '{run_id}'"
    for each in store.search_runs(experiments, within, ["attributes.start_time ASC"]).items:
        yield each
        yield from _below(store, each.run_id)


def _key(run: Run) -> tuple[str | None, str | None]:
    return run.tags.get(ENTRY_POINT_TAG), run.tags.get(_FLOW_TAG)


def _is_flow(run: Run) -> bool:
    return _FLOW_TAG in run.tags


def _parameters(run: Run) -> dict[str, str]:
    if cut := [name for name, value in run.params.items() if len(value) >= MAX_PARAM_VALUE]:
        raise InvalidInputError(f"The run {run.run_id} recorded only the beginning of {', '.join(sorted(cut))}.")
    return dict(run.params)


def _versions(command: Run, now: Run) -> dict[str, str]:
    """The versions that the new run had, by name: as it recorded them, or as its lock does."""
    for run, name in ((now, PACKAGES), (command, LOCK_FILE)):
        try:
            text = open_artifacts(run.artifact_uri).read(name).decode("utf-8", "replace")
        except NotFoundError:
            continue
        pins = (line.partition(" ")[0].partition("==") for line in text.splitlines() if line[:1] not in {"", " ", "#"})
        return {canonicalize_name(name): version for name, _, version in pins}
    return {}
