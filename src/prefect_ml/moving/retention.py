"""Removing for good what was deleted long ago: files first, then rows, so that no file is left without its row.

Each thing is marked before its first file goes; from then on it cannot be restored. A removal that was broken off
begins again at the first thing that still has its row.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

from prefect_ml.entities import ArtifactInfo, Experiment, ViewType
from prefect_ml.errors import InvalidInputError
from prefect_ml.moving.files import walk
from prefect_ml.moving.places import absolute_place, is_own_place, open_place
from prefect_ml.store.contract import Store
from prefect_ml.store.retention_contract import Deleted, Kind

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Doomed:
    """Something that goes, or would go.

    Attributes:
        what: the run, logged model or experiment.
        files: how many files it has; those of an experiment's runs are counted with the runs.
        bytes: their sizes together.
    """

    what: Deleted
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes, or went, and what stays because it is needed.

    Attributes:
        before: what was deleted by this time (ms) goes.
        done: whether it went; else nothing was changed.
        gone: what goes, runs first, experiments last.
        kept: what model versions or endpoints need, or an experiment that has its place in it.
        elsewhere: what has its files outside of the artifact root, where a client chose to have them.
    """

    before: int
    done: bool
    gone: Sequence[Doomed]
    kept: Sequence[Deleted]
    elsewhere: Sequence[Deleted] = ()

    @property
    def files(self) -> int:
        return sum(each.files for each in self.gone)

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.gone)


def parse_age(text: str) -> float:
    """Seconds of an age such as "30d", "12h" or "2w".

    Raises:
        InvalidInputError: it is none.
    """
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text.strip())
    if match is None:
        raise InvalidInputError(f"{text!r} is no age; write a number and s, m, h, d or w, like '30d'.")
    return int(match.group(1)) * _UNITS[match.group(2)]


def plan(store: Store, older_than: float, *, held: bool = False, elsewhere: bool = False) -> Removal:
    """What would go, and how many files and bytes; nothing is changed.

    Args:
        store: where it is.
        older_than: seconds since it was deleted.
        held: whether what model versions need goes too, but those that an endpoint routes to.
        elsewhere: whether what has its files outside of the artifact root goes too. Clients name such places, so look
            at them first: the folder of a run there goes with all that is in it.
    """
    before = time.time_ns() // 1_000_000 - round(older_than * 1000)
    found = store.list_deleted(before)
    nested = _with_experiments_in_them(store, found)
    going = [each for each in found if each.id not in nested and not each.stays(held=held)]
    outside = [each for each in going if not elsewhere and not is_own_place(store, each.artifact_uri)]
    going = [each for each in going if each not in outside or each.kind == Kind.EXPERIMENT]
    ids = {each.id for each in going if each.kind != Kind.EXPERIMENT}
    gone = [_doomed(store, each) for each in going if each.kind != Kind.EXPERIMENT]
    gone += [Doomed(each, 0, 0) for each in going if each.kind == Kind.EXPERIMENT and _empties(store, each, ids)]
    kept = [nested.get(each.id, each) for each in found if each.id in nested or each.stays(held=held)]
    outside = [each for each in outside if each.kind != Kind.EXPERIMENT]
    return Removal(before, done=False, gone=gone, kept=kept, elsewhere=outside)


def remove(
    store: Store, older_than: float, *, held: bool = False, elsewhere: bool = False, reason: str = "retention"
) -> Removal:
    """Remove what `plan` tells, and tell what went.

    Raises:
        StoreUnavailableError: the store or the artifacts are away; run it again, it goes on.
    """
    planned = plan(store, older_than, held=held, elsewhere=elsewhere)
    gone: list[Doomed] = []
    for kind, doomed in groupby(planned.gone, key=lambda each: each.what.kind):
        remaining = iter(doomed)
        while part := list(islice(remaining, _BATCH)):
            ids = [each.what.id for each in part]
            marked = set(store.begin_removal(kind, ids, planned.before, held=held))
            for each in part:
                if each.what.id in marked:
                    _remove_files(store, each.what)
                    if store.remove(kind, each.what.id, reason):
                        gone.append(each)
    return dataclasses.replace(planned, done=True, gone=gone)


def _empties(store: Store, experiment: Deleted, going: set[str]) -> bool:
    """Whether nothing is left in an experiment without what goes."""
    if not set(store.list_logged_model_ids(experiment.id)) <= going:
        return False
    return all(run_id in going for run_id in _run_ids(store, experiment.id))


def _with_experiments_in_them(store: Store, found: Sequence[Deleted]) -> dict[str, Deleted]:
    """Runs and logged models in whose files somebody has an experiment keep its own, held by these; by id."""
    inside: dict[str, list[str]] = defaultdict(list)
    for experiment in _experiments(store):
        place = absolute_place(store, experiment.artifact_location)
        while place:
            inside[place].append(f"experiments:/{experiment.experiment_id}")
            place = place.rpartition("/")[0]
    nested: dict[str, Deleted] = {}
    for each in found:
        there = inside.get(absolute_place(store, each.artifact_uri))
        if each.kind != Kind.EXPERIMENT and there:
            nested[each.id] = dataclasses.replace(each, held_by=tuple(there))
    return nested


def _experiments(store: Store) -> Iterator[Experiment]:
    token = None
    while True:
        page = store.search_experiments(view_type=ViewType.ALL, page_token=token)
        yield from page.items
        if (token := page.next_token) is None:
            return


def _run_ids(store: Store, experiment_id: str) -> Iterator[str]:
    token = None
    while True:
        page = store.search_runs([experiment_id], view_type=ViewType.ALL, page_token=token)
        yield from (run.run_id for run in page.items)
        if (token := page.next_token) is None:
            return


def _doomed(store: Store, what: Deleted) -> Doomed:
    infos = list(_infos(store, what))
    return Doomed(what, len(infos), sum(info.size or 0 for info in infos))


def _infos(store: Store, what: Deleted) -> Iterator[ArtifactInfo]:
    return walk(open_place(store, what.artifact_uri)) if what.artifact_uri else iter(())


def _remove_files(store: Store, what: Deleted) -> None:
    """Delete the folder of a run or logged model; that of an experiment, when no file is left in it."""
    root, _, name = what.artifact_uri.rstrip("/").rpartition("/")
    if what.kind == Kind.EXPERIMENT:
        # A place of the user's own may hold other things.
        if name == what.id and is_own_place(store, what.artifact_uri) and not any(True for _ in _infos(store, what)):
            open_place(store, root).delete(name)
        return
    outer, _, folder = root.rpartition("/")
    if (folder, name) == (what.id, "artifacts"):
        around = open_place(store, root)
        around.delete(name)
        if not any(True for _ in walk(around)):  # the id of a run may be the name of a folder of others
            open_place(store, outer).delete(folder)
        return
    artifacts = open_place(store, what.artifact_uri)
    for info in artifacts.list():
        artifacts.delete(info.name)
