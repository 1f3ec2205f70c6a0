"""Which runs and logged models are needed by model versions, and by which."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from prefect_ml.store.logged_model_tables import logged_models, run_models
from prefect_ml.store.registry_tables import model_versions, registered_models
from prefect_ml.store.routed import routed_versions
from prefect_ml.store.tables import runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Ids as they stand in `runs:/<id>/…`, `models:/<id>` and places of artifacts.
_WORDS = re.compile(r"[A-Za-z0-9][\w\-]{0,63}", re.ASCII)


class Held:
    """What every model version points to, by its run id, its model id, and any id in its source or location.

    A version that needs a logged model needs the run that made it too, and an endpoint that routes to the version both.
    """

    def __init__(self, connection: Connection) -> None:
        self._by_id: dict[str, set[str]] = defaultdict(set)
        of = model_versions.c
        joined = registered_models.c.id == of.model
        routed = routed_versions(connection)
        query = select(registered_models.c.name, of.version, of.run_id, of.model_id, of.source, of.location)
        for name, version, *pointers in connection.execute(query.join_from(model_versions, registered_models, joined)):
            for word in _words(pointers):
                self._by_id[word] |= {f"models:/{name}/{version}", *routed.get((name, version), ())}
        self._add_makers(connection)

    def run(self, run_id: str) -> Sequence[str]:
        return sorted(self._by_id.get(run_id, ()))

    def logged_model(self, model_id: str) -> Sequence[str]:
        return sorted(self._by_id.get(model_id, ()))

    def experiment(self, connection: Connection, number: int) -> Sequence[str]:
        needed: set[str] = set()
        for column, table in ((runs.c.run_id, runs), (logged_models.c.model_id, logged_models)):
            for found in connection.execute(select(column).where(table.c.experiment == number)).scalars():
                needed |= self._by_id.get(found, set())
        return sorted(needed)

    def _add_makers(self, connection: Connection) -> None:
        sources = select(logged_models.c.model_id, logged_models.c.source_run_id)
        made = select(run_models.c.model_id, runs.c.run_id).join(runs, run_models.c.run == runs.c.id)
        pairs = [*connection.execute(sources), *connection.execute(made.where(run_models.c.made))]
        for model_id, run_id in pairs:
            if run_id and model_id in self._by_id:
                self._by_id[run_id] |= self._by_id[model_id]


def being_removed(connection: Connection, pointers: Iterable[str | None]) -> str | None:
    """The id of a run or logged model that is being removed for good and that a new version would point to."""
    words = _words(pointers)
    for table, column in ((runs, runs.c.run_id), (logged_models, logged_models.c.model_id)):
        query = select(column).where(column.in_(words), table.c.removal_time.is_not(None)).limit(1)
        if (found := connection.execute(query).scalar()) is not None:
            return str(found)
    return None


def _words(pointers: Iterable[str | None]) -> set[str]:
    return {word for pointer in pointers if pointer for word in _WORDS.findall(pointer)}
