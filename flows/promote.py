"""The flow that moves an alias: gates, a person's decision, verification, the move.

It can be run again at any point (retry, resume, a second process): each step reads the request that the flow run's id
names, and takes place once.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from getpass import getuser
from typing import Any, NamedTuple

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Failed

from prefect_ml.blocks.server import named_store
from prefect_ml.entities import GateResult, PromotionRequest, RequestStatus
from prefect_ml.errors import StaleRequestError
from prefect_ml.flowruns import announced, rollout, rounds
from prefect_ml.flows import gates
from prefect_ml.flows.approval import await_decision
from prefect_ml.flows.notify import notify_of_request
from prefect_ml.flows.page import flow_run_here, publish_request
from prefect_ml.flows.rollout import carry_out
from prefect_ml.registry.gates import Gate
from prefect_ml.store.contract import Store


@flow(name="promote-model", flow_run_name="promote {name} {version} to {alias}")
def promote_model(  # noqa: PLR0917 - the parameters of a flow are a form, filled in by name
    name: str,
    version: int,
    alias: str = "champion",
    policy: str | None = None,
    stage: str | None = None,
    requester: str | None = None,
    tracking_server: str | None = None,
) -> Any:
    """Promote a model version: evaluate the gates, wait for a person, verify again and move the alias.

    What changed since the gates were judged (artifact, evidence, policy, an alias that was rolled back, an approval
    that was not used in time) sends the promotion back: the gates are judged anew and people are asked again, at most
    five times. A promotion that another one overtook ends.

    Where the policy wants a canary, an unprotected alias points at the version for a while before the move, and the
    gates are judged again; where it wants a soak, they are judged again a while after it, and one that fails takes the
    move back.

    How the run ends:

    - moved: Completed, with the alias as a dict;
    - moved and taken back: Failed, named "RolledBack";
    - rejected by a person: Completed, named "Rejected", with None: the question was answered;
    - failed gates: Failed, named "GatesFailed";
    - nobody decided in time: Failed, named "Expired", or failed by Prefect when the suspended run times out;
    - overtaken by another promotion, or sent back five times: Failed, named "Superseded" or "Expired".

    Args:
        name: The registered model.
        version: The version that asks for the alias.
        alias: The alias to move.
        policy: A stored policy by name; the one that protects the alias, or the default one, when empty.
        stage: A stage that the version enters with the move.
        requester: Who asks; the user of the process when empty. Name a person where the policy asks for four eyes.
        tracking_server: A TrackingServer block by name; the settings of the process when empty.
    """
    store = named_store(tracking_server)
    run = flow_run_here()
    asked = _Asked(name, version, alias, requester or getuser(), stage, policy)
    number = rounds.newest(store, run.id)
    again = rounds.why_round(store, run.id, number)
    while True:
        last = number >= rounds.MOST
        try:
            request = _ask(store, run, asked, number)
        except StaleRequestError as error:  # the alias moved while the gates ran, so nothing was asked
            if last:
                raise
            again = str(error)
        else:
            seen = partial(publish_request, run, "evidence", store=store, number=number)
            notify_of_request(store, request)
            decided = await_decision(store, request, note=f"Asked again: {again}" if again else "", seen=seen)
            notify_of_request(store, decided, request)
            request = carry_out(store, decided)
            notify_of_request(store, request, decided)
            publish_request(run, "decision", request, store, number)
            again = rounds.why_again(store, request)
            if last or not again:
                return _conclusion(store, request)
        get_run_logger().warning("The gates are judged anew, and people are asked again: %s", again)
        number += 1


class _Asked(NamedTuple):
    """What a run is asked to do."""

    name: str
    version: int
    alias: str
    requester: str
    stage: str | None
    policy: str | None


def _ask(store: Store, run: FlowRun, asked: _Asked, number: int) -> PromotionRequest:
    """The request of one round, which is there already when the run was interrupted."""

    def judge(gate: Gate) -> GateResult:
        return gates.judge(gate, asked.name, asked.version, asked.alias, request_key=key, store=store)

    key = rounds.key(run.id, number)
    request = announced.request_promotion(
        store,
        asked.name,
        asked.version,
        asked.alias,
        requester=asked.requester,
        key=key,
        stage=asked.stage,
        policy=asked.policy,
        flow_run_id=str(run.id),
        judge=judge,
    )
    publish_request(run, "evidence", request, store, number)
    return request


def _conclusion(store: Store, request: PromotionRequest) -> dict[str, Any] | State[Any]:
    if request.status is RequestStatus.PROMOTED:
        return _promoted(store, request)
    what = f"{request.name} version {request.version} was not promoted to @{request.alias}"
    message = f"{what}: {rounds.overtaken_by(store, request) or request.status_reason or request.status}"
    if request.status is RequestStatus.REJECTED and any(not d.approve for d in request.decisions):
        return Completed(name="Rejected", message=message)
    name = "GatesFailed" if request.status is RequestStatus.REJECTED else request.status.capitalize()
    return Failed(name=name, message=message)


def _promoted(store: Store, request: PromotionRequest) -> dict[str, Any] | State[Any]:
    moved = announced.move(store, request.request_id, actor=rollout.mover(request))
    if (bad := rollout.failed(rollout.results(store, request, "soak"))) is not None:
        back = "It was taken back" if moved.previous_version is not None else "There is no version to go back to"
        what = f"{request.name} version {request.version} was promoted to @{request.alias}"
        why = f"the gate {bad.gate!r} failed at the end of the soak: {bad.summary}"
        return Failed(name="RolledBack", message=f"{what}, and {why}. {back}.")
    get_run_logger().info("@%s of %s is version %d now.", moved.alias, moved.name, moved.version)
    return dataclasses.asdict(moved)
