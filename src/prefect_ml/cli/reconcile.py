"""`prefect-ml reconcile`."""

from __future__ import annotations

import logging
from dataclasses import asdict

from prefect_ml.cli.output import Json, print_fields, print_json
from prefect_ml.errors import StoreUnavailableError
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

logger = logging.getLogger(__name__)


def reconcile(*, timeout: float | None = None, json: Json = False) -> None:
    """Make the record true after processes died: deliver their journals, end their runs, read their steps.

    Promotions go on as well: overdue requests are closed, the flow runs of decided ones are woken, dead ones of
    deployments are executed again, and approved requests are carried out where nobody else will. Prefect is told of
    what changed the registry without telling it.

    Args:
        timeout: Seconds without a sign of life after which a run counts as dead; the setting by default.
        json: Print JSON for programs.
    """
    from prefect_ml.flowruns.promotions import carry_promotions_on  # noqa: PLC0415 (only this command needs Prefect)
    from prefect_ml.flowruns.reconcile import reconcile as work  # noqa: PLC0415
    from prefect_ml.flowruns.telling import tell_events  # noqa: PLC0415
    from prefect_ml.flows.rollout import judge_of  # noqa: PLC0415

    store = open_store()
    done = work(store, Settings().heartbeat_timeout if timeout is None else timeout)
    promotions = carry_promotions_on(store, judge_of)
    try:
        told = tell_events(store)
    except StoreUnavailableError as error:  # all else is done
        told = 0
        logger.warning("%s", error)
    if json:
        print_json(asdict(done) | {"promotions": promotions, "events": told})
    else:
        print_fields(
            "Reconciled",
            {"journals": done.journals, "records": done.records, "ended": list(done.ended), "steps read": done.steps}
            | {"events told": told}
            | {f"promotions {what.replace('_', ' ')}": list(ids) for what, ids in asdict(promotions).items()},
        )
