"""`prefect-ml promote`, `approve`, `reject`, `rollback` and `requests`."""

from __future__ import annotations

from getpass import getuser
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from prefect_ml.cli.output import Json, complaints, console, emit, fields_of, print_fields, print_json, when
from prefect_ml.entities import PromotionRequest, RequestStatus
from prefect_ml.errors import PromotionError
from prefect_ml.store import open_store

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

Actor = Annotated[str | None, Parameter(help="Who decides; the system's user name by default.")]
Reason = Annotated[str, Parameter(help="Why; kept in the audit log.")]


def promote(
    name: str,
    version: int,
    *,
    alias: str = "champion",
    policy: str | None = None,
    stage: str | None = None,
    requester: str | None = None,
    json: Json = False,
) -> None:
    """Ask to move an alias: evaluate the gates, ask at the terminal, verify and move.

    Args:
        name: The registered model.
        version: The version that asks for the alias.
        alias: The alias to move.
        policy: A stored policy; the one that protects the alias, or a default one, when left out.
        stage: A stage that the version enters with the move.
        requester: Who asks; the system's user name by default.
        json: Print JSON for programs.
    """
    from prefect_ml.flows.promote import promote_model  # noqa: PLC0415 (loads Prefect)

    state = promote_model(
        name, version, alias=alias, policy=policy, stage=stage, requester=requester, return_state=True
    )
    moved = _outcome(cast("State[Any]", state))
    if json:
        print_json(moved)
    elif moved is None:
        console.print(f"{name} version {version} was rejected; {alias} stays where it was.", markup=False)
    else:
        print_fields(f"{name}@{alias}", moved)


def approve(request_id: str, *, reason: Reason = "", actor: Actor = None, json: Json = False) -> None:
    """Approve a promotion request; a flow run that waits for it goes on. Made again, it wakes the flow run again."""
    _decide(request_id, approve=True, reason=reason, actor=actor, json=json)


def reject(request_id: str, *, reason: Reason, actor: Actor = None, json: Json = False) -> None:
    """Reject a promotion request; a flow run that waits for it ends."""
    _decide(request_id, approve=False, reason=reason, actor=actor, json=json)


def rollback(
    name: str,
    *,
    alias: str = "champion",
    reason: Reason,
    actor: Actor = None,
    emergency: bool = False,
    json: Json = False,
) -> None:
    """Move an alias back to its previous version, in one transaction, audited.

    A protected alias needs the approvals of its policy: this asks at the terminal, or waits for a decision elsewhere.

    Args:
        name: The registered model.
        alias: The alias to move back.
        reason: Why; kept in the audit log.
        actor: Who asks; the system's user name by default.
        emergency: Go back at once and unapproved, where the policy's emergency clause names the actor.
        json: Print JSON for programs.
    """
    from prefect_ml.flowruns import announced  # noqa: PLC0415 (loads Prefect)
    from prefect_ml.registry.protection import is_protected  # noqa: PLC0415

    store, who = open_store(), actor or getuser()
    if not emergency and is_protected(store, name, alias):
        from prefect_ml.flows.rollback import rollback_model  # noqa: PLC0415

        state = rollback_model(name, alias, reason, requester=who, return_state=True)
        moved = _outcome(cast("State[Any]", state))
    else:
        moved = fields_of(announced.rollback(store, name, alias, actor=who, reason=reason))
    if emergency:
        loud = f"EMERGENCY: @{alias} of {name} went back to version {moved['version']} without approval, by {who}."
        complaints.print(loud + " The audit log and an event say so.", style="bold red", markup=False, highlight=False)
    if json:
        print_json(moved)
    elif moved is None:
        console.print(f"The rollback was rejected; {alias} stays where it is.", markup=False)
    else:
        print_fields(f"{name}@{alias}", moved)


def requests(
    *, name: str | None = None, status: RequestStatus | None = None, max_results: int = 50, json: Json = False
) -> None:
    """List promotion requests, newest first.

    Args:
        name: Only those of this model.
        status: Only those in this state.
        max_results: How many at most.
        json: Print JSON for programs.
    """
    found = open_store().list_requests(name=name, status=status, max_results=max_results)
    emit(
        found,
        json=json,
        title="Promotion requests",
        columns=("request id", "model", "version", "alias", "status", "gates", "asked by", "asked", "why"),
        rows=(_row(request) for request in found),
    )


def _outcome(state: State[Any]) -> Any:
    """What a flow run came to; one that failed on purpose is a sentence, not a traceback."""
    from prefect.exceptions import FailedRun  # noqa: PLC0415 (loads Prefect)

    found = state.result(raise_on_failure=False)
    if state.is_completed():
        return found
    if isinstance(found, Exception) and not isinstance(found, FailedRun):
        raise found
    raise PromotionError(state.message or f"The flow run ended as {state.name}.")


def _decide(request_id: str, *, approve: bool, reason: str, actor: str | None, json: bool) -> None:
    from prefect_ml.flowruns import waiting  # noqa: PLC0415 (loads Prefect)

    decided = waiting.decide(
        open_store(), request_id, approve=approve, actor=actor or getuser(), reason=reason, channel="cli"
    )
    if json:
        print_json(decided.request)
    else:
        what = f"Request {request_id}: {decided.request.status.value}."
        if decided.resumed:
            what += " The flow run that waited for it goes on."
        console.print(what, markup=False, highlight=False)
    if decided.problem:
        complaints.print(decided.problem, style="yellow", markup=False, highlight=False)


def _row(request: PromotionRequest) -> tuple[object, ...]:
    passed = sum(result.passed for result in request.evidence)
    return (
        request.request_id,
        request.name,
        request.version,
        request.alias,
        request.status,
        f"{passed} of {len(request.evidence)}",
        request.requester,
        when(request.requested_at),
        request.status_reason,
    )
