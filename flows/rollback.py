"""The flow that moves an alias back: at once where nothing protects it, else by a request that people decide on."""

from __future__ import annotations

import dataclasses
from functools import partial
from getpass import getuser
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Failed

from prefect_ml.blocks.server import named_store
from prefect_ml.entities import Alias, PromotionRequest, RequestStatus
from prefect_ml.flowruns import announced, rollout, rounds
from prefect_ml.flows.approval import await_decision
from prefect_ml.flows.notify import notify_of_request
from prefect_ml.flows.page import flow_run_here, publish_request, publish_text
from prefect_ml.flows.rollout import carry_out
from prefect_ml.registry.description import escape
from prefect_ml.registry.protection import is_protected
from prefect_ml.store.contract import Store
from prefect_ml.tasks import rollback_alias


@flow(name="rollback-model", flow_run_name="roll {name}@{alias} back")
def rollback_model(  # noqa: PLR0917 - the parameters of a flow are a form, filled in by name
    name: str,
    alias: str,
    reason: str,
    requester: str | None = None,
    emergency: bool = False,
    tracking_server: str | None = None,
) -> Any:
    """Move an alias back to the version before, whose files are verified first.

    An alias that no policy protects goes back at once. A protected one needs the approvals of its policy, asked for by
    the same form as a promotion. In an emergency it goes back at once and unapproved, for those whom the policy's
    emergency clause names: the audit log, an event and the page of the run say so.

    How the run ends:

    - moved back: Completed, with the alias as a dict;
    - rejected by a person: Completed, named "Rejected", with None;
    - nobody decided in time, or the alias moved meanwhile: Failed, named "Expired" or "Superseded".

    Args:
        name: The registered model.
        alias: The alias to move back.
        reason: Why; kept in the audit log.
        requester: Who asks; the user of the process when empty.
        emergency: Whether to go back without approvals, by the policy's emergency clause.
        tracking_server: A TrackingServer block by name; the settings of the process when empty.
    """
    store = named_store(tracking_server)
    run, who = flow_run_here(), requester or getuser()
    known = store.get_request_by_key(rounds.key(run.id, 1))
    if known is None and (emergency or not is_protected(store, name, alias)):
        moved = rollback_alias(name, alias, actor=who, reason=reason, key=f"flow-run-{run.id}", store=store)
        return _told(run, moved, reason, emergency=emergency)
    request = known or announced.request_rollback(
        store, name, alias, requester=who, reason=reason, key=rounds.key(run.id, 1), flow_run_id=str(run.id)
    )
    publish_request(run, "evidence", request, store)
    seen = partial(publish_request, run, "evidence", store=store)
    notify_of_request(store, request)
    decided = await_decision(store, request, note=f"Rolled back because: {reason}", seen=seen)
    notify_of_request(store, decided, request)
    request = carry_out(store, decided)
    publish_request(run, "decision", request, store)
    return _conclusion(store, request)


def _told(run: FlowRun, moved: Alias, reason: str, *, emergency: bool) -> dict[str, Any]:
    """The alias that went back at once; an emergency is told loudly."""
    back = f"@{moved.alias} of {moved.name} went back to version {moved.version}"
    if emergency:
        get_run_logger().error("EMERGENCY: %s without approval, by %s: %s", back, moved.moved_by, reason)
        text = f"{escape(back)}, without approval, by {escape(moved.moved_by)}: {escape(reason)}"
        about = f"rollback-{moved.name}-{moved.alias}"
        publish_text(run, about, f"## EMERGENCY ROLLBACK\n\n{text}", "Emergency rollback, unapproved")
    else:
        get_run_logger().info("%s.", back)
    return dataclasses.asdict(moved)


def _conclusion(store: Store, request: PromotionRequest) -> dict[str, Any] | State[Any]:
    if request.status is RequestStatus.PROMOTED:
        return dataclasses.asdict(announced.move(store, request.request_id, actor=rollout.mover(request)))
    message = (
        f"@{request.alias} of {request.name} was not rolled back: "
        f"{rounds.overtaken_by(store, request) or request.status_reason or request.status}"
    )
    if request.status is RequestStatus.REJECTED:
        return Completed(name="Rejected", message=message)
    return Failed(name=request.status.capitalize(), message=message)
