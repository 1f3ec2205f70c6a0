"""`prefect-ml sync`."""

from __future__ import annotations

from prefect_ml.cli.output import Json, print_json, print_table
from prefect_ml.store import open_store


def sync(*, json: Json = False) -> None:
    """Deliver what dead processes left in their journals; exactly once, however often it is called."""
    from prefect_ml.tracking.sync import sync_journals  # noqa: PLC0415 (only this command needs it)

    reports = sync_journals(open_store())
    if json:
        print_json(reports)
    else:
        print_table(
            "Journals", ("run id", "records", "bad bytes"), ((r.run_id, r.records, r.bad_bytes) for r in reports)
        )
