"""The scheduled flow that makes the record true where nobody else could."""

from __future__ import annotations

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from prefect_ml.flowruns.promotions import CarriedOn, carry_promotions_on
from prefect_ml.flowruns.reconcile import Reconciled, reconcile
from prefect_ml.flowruns.telling import tell_events
from prefect_ml.flows.rollout import judge_of
from prefect_ml.settings import Settings
from prefect_ml.store import open_store


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[1, 5, 15])
def reconcile_store(timeout: float) -> Reconciled:
    """Deliver what lies in journals here, end the runs of dead processes, read the steps of the last day's runs."""
    return reconcile(open_store(), timeout)


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[1, 5, 15])
def reconcile_promotions() -> CarriedOn:
    """Close overdue promotion requests, wake the flow runs of decided ones, go on with those of dead flow runs."""
    return carry_promotions_on(open_store(), judge_of)


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[1, 5, 15])
def reconcile_events() -> int:
    """Tell Prefect of the changes of the registry whose processes died before they had told."""
    return tell_events(open_store())


@flow
def reconcile_runs(timeout: float | None = None) -> None:
    """Deliver journals of this machine, end runs without a sign of life as Prefect says they ended, read steps.

    Promotions that their flow runs do not carry on go on as well (see `prefect_ml.flowruns.promotions`), and Prefect is
    told of what changed the registry without telling it (see `prefect_ml.flowruns.telling`).

    Args:
        timeout: Seconds without a sign of life after which a run counts as dead; the setting by default.
    """
    done = reconcile_store(Settings().heartbeat_timeout if timeout is None else timeout)
    get_run_logger().info(
        "%d records delivered, %d runs ended, steps of %d runs read.", done.records, len(done.ended), done.steps
    )
    promotions = reconcile_promotions()
    get_run_logger().info(
        "Promotions: %d requests expired, %d flow runs resumed, %d started again, %d requests carried out, "
        "%d rejected versions cleaned up.",
        *map(len, (promotions.expired, promotions.resumed, promotions.restarted, promotions.carried_out)),
        len(promotions.cleaned),
    )
    get_run_logger().info("%d events of the registry told.", reconcile_events())
