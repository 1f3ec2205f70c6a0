"""`prefect-ml reconcile`."""

from __future__ import annotations

from prefect_ml.cli.output import Json, print_fields, print_json
from prefect_ml.settings import Settings
from prefect_ml.store import open_store


def reconcile(*, timeout: float | None = None, json: Json = False) -> None:
    """Make the record true after processes died: deliver their journals, end their runs, read their steps.

    Args:
        timeout: Seconds without a sign of life after which a run counts as dead; the setting by default.
        json: Print JSON for programs.
    """
    from prefect_ml.flowruns.reconcile import reconcile as work  # noqa: PLC0415 (only this command needs Prefect)

    done = work(open_store(), Settings().heartbeat_timeout if timeout is None else timeout)
    if json:
        print_json(done)
    else:
        print_fields(
            "Reconciled",
            {"journals": done.journals, "records": done.records, "ended": list(done.ended), "steps read": done.steps},
        )
