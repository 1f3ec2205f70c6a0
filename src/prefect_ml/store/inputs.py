"""Inputs: which data sets runs used, and for what."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from prefect_ml.store.bulk import Bulk
from prefect_ml.store.input_names import check_input
from prefect_ml.store.logged_model_names import check_model_id
from prefect_ml.store.rows import Rows
from prefect_ml.store.run_models import write_used_models
from prefect_ml.store.runs import active_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.entities import Dataset, DatasetInput

_ADD_DATASETS = Bulk(
    "INSERT INTO datasets (fingerprint, name, digest, source_type, source, schema, profile)"
    " SELECT f, n, d, t, s, c, p FROM {rows} WHERE true ON CONFLICT (fingerprint) DO NOTHING",
    tuple((column, "text") for column in "fndtscp"),
)
_ADD_INPUTS = Bulk(
    "INSERT INTO inputs (run, name, digest, dataset) SELECT {run}, name, digest, id FROM datasets"
    " JOIN {rows} ON fingerprint = f WHERE true"
    " ON CONFLICT (run, name, digest) DO NOTHING RETURNING name, digest",
    (("f", "text"),),
)
_SET_INPUTS = Bulk(
    "INSERT INTO inputs (run, name, digest, dataset) SELECT {run}, name, digest, id FROM datasets"
    " JOIN {rows} ON fingerprint = f WHERE true"
    " ON CONFLICT (run, name, digest) DO UPDATE SET dataset = excluded.dataset",
    (("f", "text"),),
)
_SET_TAGS = Bulk(
    "INSERT INTO input_tags (input, key, value) SELECT used.id, k, v"
    " FROM (SELECT id, name, digest FROM inputs WHERE run = {run}) AS used JOIN {rows} ON name = n AND digest = d"
    " WHERE true ON CONFLICT (input, key) DO UPDATE SET value = excluded.value",
    tuple((column, "text") for column in "ndkv"),
)


class InputRows(Rows):
    def log_inputs(self, run_id: str, inputs: Sequence[DatasetInput], *, models: Sequence[str] = ()) -> None:
        checked = [check_input(given) for given in inputs]
        model_ids = [check_model_id(model_id) for model_id in models]

        def work(connection: Connection) -> None:
            number = active_run(connection, run_id)
            _add_inputs(connection, number, checked)
            write_used_models(connection, number, model_ids)

        self.database.write(work)


def write_inputs(connection: Connection, run: int, given: Sequence[DatasetInput]) -> None:
    """Note what a journal says that a run used: of one input, the last one's facts and values of tags stay."""
    if not given:
        return
    rows: dict[tuple[str, str], tuple[str, ...]] = {}
    tags: dict[tuple[str, str, str], str] = {}
    for each in given:
        named = (each.dataset.name, each.dataset.digest)
        rows[named] = _row(each.dataset)
        tags |= {(*named, key): value for key, value in each.tags.items()}
    _ADD_DATASETS.execute(connection, None, sorted(rows.values()))
    _SET_INPUTS.execute(connection, run, sorted((fingerprint,) for fingerprint, *_ in rows.values()))
    _SET_TAGS.execute(connection, run, sorted((*key, value) for key, value in tags.items()))


def _add_inputs(connection: Connection, run: int, given: Sequence[DatasetInput]) -> None:
    """Note what a run used; one that is noted already stays as it is, with its tags."""
    first = {(each.dataset.name, each.dataset.digest): each for each in reversed(given)}
    rows = {named: _row(each.dataset) for named, each in first.items()}
    _ADD_DATASETS.execute(connection, None, sorted(rows.values()))
    added = _ADD_INPUTS.execute(connection, run, sorted((fingerprint,) for fingerprint, *_ in rows.values()))
    tags = [(*named, *tag) for named in map(tuple, added) for tag in first[named].tags.items()]
    _SET_TAGS.execute(connection, run, sorted(tags))


def _row(dataset: Dataset) -> tuple[str, ...]:
    """The columns of a data set, the first of them a fingerprint of all the others."""
    facts = (
        dataset.name,
        dataset.digest,
        dataset.source_type,
        dataset.source,
        dataset.schema,
        dataset.profile,
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest(), *facts
