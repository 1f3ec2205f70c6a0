"""Waiting for a person's decision, and recording it.

The promotion request in our store is the only record that counts; whatever waits here only brings answers to
`registry.promotion.decide`. Who answers depends on where the flow runs:

- a decider given by `approvals_from`, for callers in this process;
- the form of a suspended flow run, for a run of a deployment;
- the terminal, for a local run that has one;
- else nobody here: the run watches the record until someone decides it elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from getpass import getuser
from typing import Literal, NamedTuple

from prefect import get_run_logger
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field, ValidationError

from prefect_ml.entities import PromotionRequest, RequestStatus
from prefect_ml.errors import InvalidInputError, NotAllowedError, PrefectMLError, PromotionError
from prefect_ml.flowruns.announced import decide
from prefect_ml.flowruns.card import LONGEST_OF_A_FORM, promotion_card
from prefect_ml.flowruns.waiting import pause_key, resume_waiting, tell_waiting
from prefect_ml.registry.description import describe, escape
from prefect_ml.store.contract import Store

# Answers that may be refused (no approver, no reason for a rejection) before the flow gives up.
REFUSALS = 20
_LONGEST_PAUSE = 10.0

__all__ = ["Answer", "Decider", "PromotionForm", "approvals_from", "await_decision", "may_suspend", "resume_waiting"]


class Answer(NamedTuple):
    """What a person said; `channel` names where."""

    approve: bool
    actor: str
    reason: str = ""
    channel: str = "python"


Decider = Callable[[PromotionRequest], Answer]
# Asks for an answer once: the request, how many times it was asked, and why the last answer was refused.
_Asker = Callable[[PromotionRequest, int, str], Answer]

_decider: ContextVar[Decider | None] = ContextVar("prefect_ml_decider", default=None)


@contextmanager
def approvals_from(decider: Decider) -> Iterator[None]:
    """Let promotion flows that run in this block ask `decider`; what it answers is recorded under its actor."""
    token = _decider.set(decider)
    try:
        yield
    finally:
        _decider.reset(token)


class PromotionForm(RunInput):
    """What the form in Prefect's UI asks; nothing is decided by leaving it as it is."""

    decision: Literal["approve", "reject"] = Field(description="What shall happen with this version?")
    approver: str = Field(min_length=1, max_length=200, description="Who decides; kept with the promotion.")
    reason: str = Field(default="", max_length=2000, description="Why; needed for a rejection.")


def may_suspend(run: FlowRun) -> bool:
    """Whether a run may leave its process and be executed again later: one of a deployment that is nobody's subflow."""
    return run.deployment_id is not None and run.parent_task_run_id is None


def await_decision(
    store: Store, request: PromotionRequest, *, note: str = "", seen: Callable[[PromotionRequest], None] | None = None
) -> PromotionRequest:
    """Return the request as soon as it is no longer pending; in a deployed run, the first call suspends the run.

    An answer that the policy or a rule refuses is asked for again, with the refusal.

    Args:
        store: where the request is.
        request: what is to be decided.
        note: shown above the question.
        seen: called with the request before people are asked again, after some of them decided.

    Raises:
        PromotionError: too many answers were refused; the request stays open.
        NotAllowedError: the decider of this process answered for someone who may not decide.
    """
    asker = _asker(store, note)
    refusal = ""
    for asked in range(1, REFUSALS + 100):
        request = store.get_request(request.request_id)
        if request.status is not RequestStatus.PENDING:
            return request
        if seen is not None and request.decisions:
            seen(request)
        if asker is None:
            return _watch(store, request)
        answer = asker(request, asked, refusal)
        if store.get_request(request.request_id).status is not RequestStatus.PENDING:
            continue  # decided elsewhere meanwhile: that record counts, this answer does not
        refusal = _recorded(store, request, answer)
        if refusal and (asked >= REFUSALS or _decider.get() is not None):
            break
    raise PromotionError(
        f"No answer could be recorded for the request {request.request_id}: {refusal or 'it stays open'}"
    )


def _asker(store: Store, note: str) -> _Asker | None:
    decider = _decider.get()
    if decider is not None:
        return lambda request, _asked, _refusal: decider(request)
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None and may_suspend(context.flow_run):
        attempt = context.flow_run.run_count
        return lambda request, asked, refusal: _ask_in_prefect(store, request, f"{attempt}-{asked}", refusal, note)
    if sys.stdin.isatty() and sys.stderr.isatty():
        return lambda request, _asked, refusal: _ask_at_terminal(store, request, refusal, note)
    return None


def _recorded(store: Store, request: PromotionRequest, answer: Answer) -> str:
    """Record an answer; returns why it was refused, "" when it was not."""
    try:
        decide(
            store,
            request.request_id,
            approve=answer.approve,
            actor=answer.actor,
            reason=answer.reason,
            channel=answer.channel,
        )
    except (InvalidInputError, NotAllowedError) as error:
        get_run_logger().warning("The answer was refused: %s", error)
        return str(error)
    except PromotionError:
        if store.get_request(request.request_id).status is RequestStatus.PENDING:
            raise
    return ""


def _ask_in_prefect(store: Store, request: PromotionRequest, asked: str, refusal: str, note: str) -> Answer:
    """The answer of the form; raises Prefect's Pause, which ends this process, when it was not filled in yet."""
    text = promotion_card(store, request, longest=LONGEST_OF_A_FORM)
    if note:
        text = f"**{escape(note)}**\n\n{text}"
    if refusal:
        text = f"**The last answer was refused: {escape(refusal)}**\n\n{text}"
    seconds = max(1, request.expires_at // 1000 - int(time.time()))
    try:
        filled = suspend_flow_run(
            wait_for_input=PromotionForm.with_initial_data(description=text),
            timeout=seconds,
            # The same key on each pass: the pass after the resume finds the answer instead of suspending again.
            key=pause_key(request, asked),
        )
    except ValidationError:
        return Answer(approve=False, actor="", channel="prefect-ui")
    except Pause:
        _wake_if_decided(store, request)
        raise
    return Answer(filled.decision == "approve", filled.approver, filled.reason, "prefect-ui")


def _wake_if_decided(store: Store, request: PromotionRequest) -> None:
    """Whoever decided between the last look at the record and the suspension found no suspended run to wake."""
    try:
        problem = tell_waiting(store.get_request(request.request_id)).problem
    except PrefectMLError as error:  # the run is suspended all the same, and reconciling will wake it
        problem = str(error)
    if problem:
        get_run_logger().warning("%s", problem)


def _ask_at_terminal(store: Store, request: PromotionRequest, refusal: str, note: str) -> Answer:
    from rich.console import Console  # noqa: PLC0415 - only a run with a terminal
    from rich.markdown import Markdown  # noqa: PLC0415
    from rich.prompt import Confirm, Prompt  # noqa: PLC0415

    console = Console(stderr=True)
    console.print(Markdown(describe(request, store)))
    if note:
        console.print(note, markup=False)
    if refusal:
        console.print(refusal, style="red", markup=False)
    approve = Confirm.ask("Approve?", console=console)
    actor = Prompt.ask("Who decides", default=getuser(), console=console)
    reason = Prompt.ask("Reason", default="", show_default=False, console=console)
    return Answer(approve, actor, reason, "terminal")


def _watch(store: Store, request: PromotionRequest) -> PromotionRequest:
    get_run_logger().info(
        "Waiting for a decision on the request %s: `prefect-ml approve %s` or `prefect-ml reject %s --reason TEXT`.",
        *(request.request_id,) * 3,
    )
    pause = 0.5
    while (found := store.get_request(request.request_id)).status is RequestStatus.PENDING:
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 1.5)
    return found
