"""From a data set, a commit, a flow run or a model to the model versions that came from it."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_ml.entities import ViewType
from prefect_ml.errors import InvalidInputError
from prefect_ml.lineage import tags
from prefect_ml.registry.resolve import resolve
from prefect_ml.store.experiment_ids import all_experiments
from prefect_ml.tracking.model_inputs import tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prefect_ml.entities import ModelVersion
    from prefect_ml.store.contract import Store

MAX_RUNS = 1000
_MAX_VERSIONS = 1000
_MAX_DEPTH = 20
_IN_ONE_LIST = 200
# Both hash functions of git (https://git-scm.com/docs/hash-function-transition).
_FULL_COMMITS = (40, 64)
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True, slots=True)
class Found:
    """What came from something.

    Attributes:
        versions: by name and number.
        run_ids: the runs that used it, deleted ones included.
        complete: whether that is all; False when there are more than a thousand runs or versions.
    """

    versions: Sequence[ModelVersion]
    run_ids: Sequence[str]
    complete: bool


def from_dataset(store: Store, digest: str) -> Found:
    """The versions whose runs used a data set of this digest."""
    return _versions_of(store, *_runs(store, f"dataset.digest = {_quoted(digest)}"))


def from_commit(store: Store, commit: str) -> Found:
    """The versions whose runs executed a commit, given in full or by its first 7 digits or more.

    Raises:
        InvalidInputError: it is no commit.
    """
    short = commit.strip().lower()
    if not _COMMIT.fullmatch(short):
        raise InvalidInputError(f"{commit!r} is no commit; give 7 to 64 hexadecimal digits, as git prints them.")
    condition = f"= '{short}'" if len(short) in _FULL_COMMITS else f"LIKE '{short}%'"
    return _versions_of(store, *_runs(store, f"tags.`{tags.COMMIT}` {condition}"))


def from_flow_run(store: Store, flow_run_id: str) -> Found:
    """The versions that a flow run made, and the child runs of its run.

    Raises:
        InvalidInputError: it is no id of a flow run.
    """
    try:
        flow_run = uuid.UUID(flow_run_id)
    except ValueError:
        raise InvalidInputError(
            f"{flow_run_id!r} is no id of a flow run; `prefect flow-run ls` and the page of the run show it."
        ) from None
    run_ids, complete = _runs(store, f"tags.`{tags.FLOW_RUN}` = '{flow_run}'")
    level = run_ids
    for _ in range(_MAX_DEPTH):
        below: list[str] = []
        for run_id in level:
            found, whole = _runs(store, f"tags.`{tags.PARENT}` = {_quoted(run_id)}")
            below += [each for each in found if each not in run_ids]
            complete &= whole
            if len(run_ids) + len(below) > MAX_RUNS:
                return _versions_of(store, (run_ids + below)[:MAX_RUNS], complete=False)
        if not below:
            break
        run_ids, level = run_ids + below, below
    return _versions_of(store, run_ids, complete=complete)


def from_model(store: Store, uri: str) -> Found:
    """The versions whose runs loaded a model.

    Raises:
        InvalidInputError: it is no model URI.
        NotFoundError: there is no such model.
    """
    origin = resolve(store, uri).origin
    return _versions_of(store, *_runs(store, f"tags.`{tag_of(origin)}` LIKE '%'"))


def _runs(store: Store, condition: str) -> tuple[list[str], bool]:
    """The ids of runs of all experiments that meet a condition, newest first, and whether these are all."""
    page = store.search_runs(all_experiments(store, ViewType.ALL), condition, (), ViewType.ALL, MAX_RUNS)
    return [run.run_id for run in page.items], page.next_token is None


def _versions_of(store: Store, run_ids: Sequence[str], complete: bool) -> Found:
    found: list[ModelVersion] = []
    for part in _parts(run_ids):
        listed = ", ".join(_quoted(run_id) for run_id in part)
        page = store.search_model_versions(f"run_id IN ({listed})", max_results=_MAX_VERSIONS)
        found += page.items
        complete &= page.next_token is None
    found.sort(key=lambda version: (version.name, version.version))
    return Found(found[:_MAX_VERSIONS], run_ids, complete and len(found) <= _MAX_VERSIONS)


def _parts(run_ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (run_ids[at : at + _IN_ONE_LIST] for at in range(0, len(run_ids), _IN_ONE_LIST))


def _quoted(text: str) -> str:
    """A text as a value of the filter language."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
