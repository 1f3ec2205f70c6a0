"""Writing params, which never change, and tags, which do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import delete, select, text

from prefect_ml.errors import InvalidInputError, ParamConflictError
from prefect_ml.store.bulk import Bulk
from prefect_ml.store.canonical import canonical
from prefect_ml.store.tables import tags as tags_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

# The tag that MLflow's clients read and write a run's name by; it and the name always agree.
RUN_NAME_TAG = "mlflow.runName"

_PAIRS = (("k", "text"), ("v", "text"))
_ADD_PARAMS = Bulk(
    "INSERT INTO params (run, key, value) SELECT {run}, k, v FROM {rows} WHERE true ON CONFLICT DO NOTHING",
    _PAIRS,
)
_CONFLICTS = Bulk(
    "SELECT DISTINCT k, p.value, v FROM (SELECT key, value FROM params WHERE run = {run}) AS p"
    " JOIN {rows} ON p.key = k WHERE p.value <> v",
    _PAIRS,
)
_SET_TAGS = Bulk(
    "INSERT INTO tags (run, key, value) SELECT {run}, k, v FROM {rows} WHERE true"
    " ON CONFLICT (run, key) DO UPDATE SET value = excluded.value",
    _PAIRS,
)
_RENAME = text("UPDATE runs SET name = :name WHERE id = :run")


class Conflict(NamedTuple):
    """A param that was already set to another value."""

    key: str
    old: str
    new: str

    def error(self, run_id: str) -> ParamConflictError:
        return ParamConflictError(
            f"Changing param values is not allowed. Param with key='{self.key}' was already logged with "
            f"value='{self.old}' for run ID='{run_id}'. Attempted logging new value '{self.new}'."
        )


def conflict_error(conflicts: Sequence[Conflict], run_id: str, *, alone: bool) -> ParamConflictError:
    """What is said of conflicts: in MLflow's words of one that was given `alone`, or of those of a batch."""
    if alone:
        return conflicts[0].error(run_id)
    shown = [{"key": each.key, "old_value": each.old, "new_value": each.new} for each in sorted(conflicts)]
    return ParamConflictError(
        f"Changing param values is not allowed. Params were already logged='{shown}' for run ID='{run_id}'. "
        "Log new values under other names."
    )


def write_params(connection: Connection, run: int, params: Mapping[str, str]) -> list[Conflict]:
    """Add checked params that are not there yet, and return those that are there with another value."""
    if not params:
        return []
    rows = sorted(params.items())
    _ADD_PARAMS.execute(connection, run, rows)
    return [Conflict(*row) for row in _CONFLICTS.execute(connection, run, rows)]


def write_tags(connection: Connection, run: int, tags: Mapping[str, str]) -> None:
    """Set checked tags; the tag of the run's name renames it."""
    if not tags:
        return
    _SET_TAGS.execute(connection, run, sorted(tags.items()))
    if RUN_NAME_TAG in tags:
        connection.execute(_RENAME, {"run": run, "name": tags[RUN_NAME_TAG]})


def remove_tag(connection: Connection, run: int, key: str) -> bool:
    """Remove a tag; whether it was there."""
    where = (tags_table.c.run == run) & (tags_table.c.key == key)
    return connection.execute(delete(tags_table).where(where)).rowcount > 0


def append_to_tag(connection: Connection, run: int, key: str, value: Any) -> None:
    """Add a JSON value to the list in a tag of a run that nobody else changes meanwhile.

    Raises:
        InvalidInputError: the tag holds no list, or the list becomes too long.
    """
    of = tags_table.c
    old = connection.execute(select(of.value).where(of.run == run, of.key == key)).scalar()
    try:
        known = [] if old is None else json.loads(old)
    except ValueError:
        known = None
    if not isinstance(known, list):
        raise InvalidInputError(f"Tag {key!r} holds no JSON list, so nothing can be added to it; delete it first.")
    text = canonical(f"The list in tag {key!r}", [*known, value])
    _SET_TAGS.execute(connection, run, [(key, text)])
