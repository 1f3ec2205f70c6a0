"""From what a user names as input to a plan of chunks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prefect_ml.artifacts.open import open_artifacts
from prefect_ml.errors import InvalidInputError
from prefect_ml.scoring.places import find_inputs, kind_of, open_files
from prefect_ml.scoring.plan import plan_parquet
from prefect_ml.scoring.staging import FOLDER, stage_csv, stage_rows
from prefect_ml.store.query_rows import query_rows

if TYPE_CHECKING:
    from prefect_ml.scoring.plan import Plan

_QUERY_NAME = "the query"
_LOOKS_LIKE_A_QUERY = re.compile(r"\s*(select|with)\s", re.IGNORECASE)


def plan_input(given: str, output: str, rows: int, database_url: str | None = None) -> Plan:
    """Plan the scoring of files, or of the rows of a query.

    Args:
        given: a Parquet or CSV file, a folder of such files, a pattern, or the URL of one of these; with a database,
            a query.
        output: place of the scores; CSV and rows of queries are staged there.
        rows: of a chunk, at most.
        database_url: SQLAlchemy URL of the query's database.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it cannot be read as what it is.
        StoreUnavailableError: the database cannot be reached.
    """
    if database_url is not None:
        _clear(output)
        with query_rows(database_url, given, rows) as (columns, batches):
            return stage_rows(_QUERY_NAME, columns, batches, open_artifacts(output))
    if _LOOKS_LIKE_A_QUERY.match(given):
        raise InvalidInputError("A query needs the database that it is for: name the secret with its URL.")
    files = find_inputs(given)
    system, root = open_files(output)
    inside = next((file.name for file in files if file.path.startswith(f"{root.rstrip('/')}/")), None)
    if inside is not None and system.equals(open_files(given)[0]):
        raise InvalidInputError(f"{inside} lies in the output: give the scores a folder outside of the input.")
    if kind_of(files[0].path) == "parquet":
        return plan_parquet(files, rows)
    _clear(output)
    return stage_csv(files, rows, open_artifacts(output))


def _clear(output: str) -> None:
    """Remove what an earlier scoring staged."""
    place = open_artifacts(output)
    if any(each.name == FOLDER for each in place.list()):
        place.delete(FOLDER)
