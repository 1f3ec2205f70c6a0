"""`prefect-ml sync`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prefect_ml.cli.output import Json, print_json, print_table
from prefect_ml.store import open_store

Folder = Annotated[
    Path | None,
    Parameter(help="Journals that were carried here: a PREFECT_ML_HOME of another machine, or its `journal`."),
]


def sync(folder: Folder = None, *, json: Json = False) -> None:
    """Deliver what dead and offline processes left in their journals; exactly once, however often it is called."""
    from prefect_ml.tracking.sync import sync_journals  # noqa: PLC0415 (only this command needs it)

    reports = sync_journals(open_store(), folder)
    if json:
        print_json(reports)
    else:
        print_table(
            "Journals", ("run id", "records", "bad bytes"), ((r.run_id, r.records, r.bad_bytes) for r in reports)
        )
