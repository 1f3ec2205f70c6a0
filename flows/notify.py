"""Telling people of promotions through Prefect's own notification blocks; a block that fails is a warning."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from prefect import Task, flow, get_run_logger, task
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.utilities.urls import url_for

from prefect_ml.blocks.server import named_store
from prefect_ml.entities import PromotionRequest, RequestKind, RequestStatus
from prefect_ml.errors import InvalidInputError
from prefect_ml.flowruns.harmless import harmless
from prefect_ml.registry.description import escape
from prefect_ml.store.contract import Store

Kind = Literal["requested", "approved", "rejected", "moved", "rolled back", "emergency", "decayed"]

_SUBJECTS: Mapping[Kind, str] = {
    "requested": "promotion asked for",
    "approved": "promotion approved",
    "rejected": "promotion rejected",
    "moved": "promoted",
    "rolled back": "rolled back",
    "emergency": "EMERGENCY ROLLBACK",
    "decayed": "champion decayed",
}
_OF_STATUS: Mapping[RequestStatus, Kind] = {
    RequestStatus.PENDING: "requested",
    RequestStatus.APPROVED: "approved",
    RequestStatus.REJECTED: "rejected",
    RequestStatus.PROMOTED: "moved",
}
_SENTENCES: Mapping[Kind, str] = {
    "requested": "{actor} asks to move the alias {alias} of {name} {back}to version {version}.",
    "approved": "{actor} approved version {version} of {name} for the alias {alias}.",
    "rejected": "The alias {alias} of {name} does not move {back}to version {version}.",
    "moved": "The alias {alias} of {name} is version {version} now.",
    "rolled back": "{actor} moved the alias {alias} of {name} back to version {version}.",
    "emergency": "{actor} moved the alias {alias} of {name} back to version {version} in an emergency, unapproved.",
    "decayed": "Version {version} of {name}, which is the alias {alias}, fails gates of its policy now.",
}


class Notice(NamedTuple):
    """What people are told.

    Attributes:
        kind: of what.
        name: the registered model.
        version: its version.
        alias: the alias that it is about.
        actor: who did it; "" when nobody did.
        reason: why.
        request_id: the promotion request, if it is about one.
        flow_run_id: the flow run where more is to be seen; linked when Prefect has a UI.
        back: whether the request is one to roll back.
    """

    kind: Kind
    name: str
    version: int
    alias: str
    actor: str = ""
    reason: str = ""
    request_id: str = ""
    flow_run_id: str = ""
    back: bool = False

    @property
    def subject(self) -> str:
        what = _SUBJECTS[self.kind].replace("promotion", "rollback") if self.back else _SUBJECTS[self.kind]
        return f"{_plain(self.name)} version {self.version}: {what}"

    @property
    def body(self) -> str:
        words = {key: _plain(getattr(self, key)) for key in ("name", "alias", "actor")}
        words |= {"actor": words["actor"] or "Somebody", "back": "back " if self.back else ""}
        lines = [_SENTENCES[self.kind].format(version=self.version, **words)]
        if self.reason:
            lines.append(f"Reason: {_plain(self.reason)}")
        if self.kind == "requested" and self.request_id:
            lines.append(f"Decide with: prefect-ml approve {_plain(self.request_id)}")
        if self.flow_run_id and (page := url_for("flow-run", obj_id=self.flow_run_id)):
            lines.append(page)
        return "\n".join(lines)


def notify(blocks: Sequence[str], notice: Notice) -> list[str]:
    """Send a notice through notification blocks, within a flow run; called again for the same request, it is sent once.

    Args:
        blocks: "type-slug/name" of each, as in a policy's `notify`.
        notice: what is told.

    Returns:
        The blocks that took it. One that did not is a warning in the log of the flow run, and its task run is Failed.
    """
    told = []
    for block in blocks:
        state: Any = _send.with_options(task_run_name=f"notify {block}")(block, notice, return_state=True)
        if state.is_completed():
            told.append(block)
        else:
            get_run_logger().warning("The notification block %s told nobody: %s", block, state.message)
    return told


def notify_of_request(store: Store, request: PromotionRequest, before: PromotionRequest | None = None) -> None:
    """Tell the blocks of a request's policy how it stands, within a flow run; whatever goes wrong is a warning.

    Args:
        store: where the policy is.
        request: the request as it is now.
        before: as it was when it was told last; nothing is told when its status is the same.
    """
    if before is None or before.status is not request.status:
        with harmless("The notification blocks of the policy are not told how the promotion stands"):
            _notify_of_request(store, request)


def _notify_of_request(store: Store, request: PromotionRequest) -> None:
    kind = _OF_STATUS.get(request.status)
    last = request.decisions[-1] if request.decisions else None
    told_elsewhere = request.kind is RequestKind.ROLLBACK and request.status is RequestStatus.PROMOTED
    nobody_approved = request.status is RequestStatus.APPROVED and last is None
    if kind is None or told_elsewhere or nobody_approved:
        return
    decided = last is not None and kind in ("approved", "rejected")
    notice = Notice(
        kind,
        request.name,
        request.version,
        request.alias,
        actor=last.actor if last is not None and decided else request.requester,
        reason=last.reason if last is not None and decided else request.status_reason or request.reason,
        request_id=request.request_id,
        flow_run_id=request.flow_run_id or "",
        back=request.kind is RequestKind.ROLLBACK,
    )
    notify(store.get_policy(request.policy, request.policy_version).notify, notice)


@flow(name="notify-people", flow_run_name="{name}@{alias}: {kind}")
def notify_people(  # noqa: PLR0917 - the parameters of a flow are a form, filled in by name
    kind: Kind,
    name: str,
    alias: str,
    version: int,
    actor: str = "",
    reason: str = "",
    tracking_server: str | None = None,
) -> list[str]:
    """Tell the notification blocks of the policy that protects an alias; automations start it.

    Args:
        kind: What happened.
        name: The registered model.
        alias: The alias.
        version: The version that the alias is on now.
        actor: Who did it.
        reason: Why.
        tracking_server: A TrackingServer block by name; the settings of the process when empty.

    Returns:
        The blocks that took it; none when no policy protects the alias or it names no block.
    """
    policy = named_store(tracking_server).policy_for(name, alias)
    blocks = () if policy is None else policy.notify
    return notify(blocks, Notice(kind, name, version, alias, actor=actor, reason=reason))


def _once(_: TaskRunContext, given: Mapping[str, Any]) -> str | None:
    """A flow that is resumed runs from its top again, and the same request is told once."""
    notice: Notice = given["notice"]
    if not notice.request_id:
        return None
    return f"prefect-ml-notice-{notice.request_id}-{notice.kind}-{given['block']}".replace("/", "-")


def _may_work_again(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001 - Prefect's shape
    """Whether a block failed otherwise than by being none, or not there."""
    return not isinstance(state.result(raise_on_failure=False), ValueError)


@task(cache_key_fn=_once, persist_result=True, retries=1, retry_delay_seconds=2, retry_condition_fn=_may_work_again)
def _send(block: str, notice: Notice) -> bool:
    found = Block.load(block)
    if not isinstance(found, NotificationBlock):
        raise InvalidInputError(
            f"The block {block!r} is no notification block; name one like slack-webhook/NAME in the policy's notify."
        )
    with found.raise_on_failure():
        sent: Any = found.notify(notice.body, notice.subject)
        if inspect.isawaitable(sent):  # a block that knows one way only
            asyncio.run(_awaited(sent))
    return True


async def _awaited(sent: Awaitable[Any]) -> None:
    await sent


def _plain(text: str) -> str:
    """Text of people that neither mentions nor links anybody, nor fills a template of the block; `_` is common."""
    return escape(text).replace("&#95;", "_")
