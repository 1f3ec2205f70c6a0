"""Which logged models runs used, and which they made."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from prefect_ml.entities import ModelOutput
from prefect_ml.store.bulk import Bulk
from prefect_ml.store.logged_model_tables import run_models

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

# PostgreSQL's boolean is none of SQLite's integers, so what was done is in the statement.
_ADD_USED = Bulk(
    "INSERT INTO run_models (run, made, model_id, step) SELECT {run}, false, m, 0 FROM {rows} WHERE true"
    " ON CONFLICT DO NOTHING",
    (("m", "text"),),
)
_SET_MADE = Bulk(
    "INSERT INTO run_models (run, made, model_id, step) SELECT {run}, true, m, s FROM {rows} WHERE true"
    " ON CONFLICT (run, made, model_id) DO UPDATE SET step = excluded.step",
    (("m", "text"), ("s", "bigint")),
)


class RunModels(NamedTuple):
    """What a run has to do with logged models."""

    used: Sequence[str]
    made: Sequence[ModelOutput]


def write_made_models(connection: Connection, run: int, outputs: Iterable[ModelOutput]) -> None:
    """Note which models, by checked ids, a run made; of two steps of one model the last stays."""
    _SET_MADE.execute(connection, run, sorted(dict(outputs).items()))


def write_used_models(connection: Connection, run: int, model_ids: Sequence[str]) -> None:
    """Note which models, by checked ids, a run used."""
    _ADD_USED.execute(connection, run, [(model_id,) for model_id in sorted(set(model_ids))])


def load_run_models(connection: Connection, runs: Sequence[int]) -> dict[int, RunModels]:
    """By run: models that it used by id, and that it made by step; runs without any are not there."""
    of = run_models.c
    query = select(of.run, of.made, of.model_id, of.step).where(of.run.in_(runs))
    used: dict[int, list[str]] = defaultdict(list)
    made: dict[int, list[ModelOutput]] = defaultdict(list)
    for run, output, model_id, step in connection.execute(query.order_by(of.step, of.model_id)):
        if output:
            made[run].append(ModelOutput(model_id, step))
        else:
            used[run].append(model_id)
    return {run: RunModels(tuple(used[run]), tuple(made[run])) for run in {*used, *made}}
