"""What a policy wants around the move of an alias: a canary before it, a soak after it, and an end for the rejected.

What is due is read from the store each time (when the canary alias was set, when the alias moved, which gates were
judged), never from this process's memory. So whoever was interrupted goes on, and two who do it at once do it once.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from prefect_ml.entities import (
    Alias,
    AliasMove,
    GateResult,
    ModelVersion,
    Policy,
    PromotionRequest,
    RecordedGate,
    RequestKind,
    RequestStatus,
)
from prefect_ml.errors import NotFoundError, ProtectedError
from prefect_ml.flowruns import announced
from prefect_ml.registry.gate import Candidate, Subject
from prefect_ml.registry.gates import Gate, evaluate_gate
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.store.contract import Store
from prefect_ml.store.evidence import spec_digest, trial_key

# The tag of a version that names the request whose rejection was cleaned up after.
REJECTED_TAG = "prefect_ml.rejected_request"

Kind = Literal["queue", "canary", "judge-canary", "refuse", "move", "judge-soak", "roll-back", "done"]
Trial = Literal["canary", "soak"]
# Judges one gate under a key, against what `candidate_of` takes.
Judge = Callable[[Gate, str, int | None], GateResult]


class Step(NamedTuple):
    """What is to be done next for a request.

    Attributes:
        kind: "queue": look again, since another promotion has the canary alias; "canary": point the canary alias at
            the version; "judge-canary", "judge-soak": judge the gates again;
            "refuse": close the request; "move": move the alias; "roll-back": take the move back; "done": nothing.
        due: when, in milliseconds since the epoch; 0 for now.
        why: for "refuse" and "roll-back".
    """

    kind: Kind
    due: int = 0
    why: str = ""


DONE = Step("done")
# Milliseconds: how often the canary of another is looked at once its time is over, and for how long its gates may be
# judged; then whoever carried it out is gone.
_LOOK = 5_000
_JUDGING = 3_600_000
_CANARY_OF = "canary of promotion request "
_MAX_WORDS = 2000


def next_step(store: Store, request: PromotionRequest) -> Step:
    """What is to be done next for a request; "done" for one that is not decided, or came to its end."""
    policy = store.get_policy(request.policy, request.policy_version)
    if request.kind is RequestKind.ROLLBACK:
        return Step("move") if request.status is RequestStatus.APPROVED else DONE
    if request.status is RequestStatus.APPROVED:
        return _before_the_move(store, request, policy)
    if request.status is RequestStatus.PROMOTED and policy.soak is not None:
        return _after_the_move(store, request, policy)
    return DONE


def advance(store: Store, request: PromotionRequest, judge: Judge) -> PromotionRequest:
    """Do all that is due for a request now, and wait for nothing.

    Raises:
        StaleRequestError: what was asked for changed meanwhile, its files too; the request is closed.
    """
    while (step := next_step(store, request)).kind != "done" and step.due <= now():
        take(store, request, step, judge)
        request = store.get_request(request.request_id)
    return request


def take(store: Store, request: PromotionRequest, step: Step, judge: Judge) -> None:
    """Take one step that is due; one that was taken already changes nothing."""
    match step.kind:
        case "canary":
            set_canary(store, request)
        case "judge-canary":
            judge_again(store, request, "canary", judge)
        case "judge-soak":
            judge_again(store, request, "soak", judge)
        case "refuse":
            store.withdraw_request(request.request_id, actor=_actor(request), reason=step.why[:_MAX_WORDS])
        case "move":
            announced.move(store, request.request_id, actor=mover(request))
        case "roll-back":
            roll_back(store, request, step.why[:_MAX_WORDS])
        case "queue" | "done":
            return


def mover(request: PromotionRequest) -> str:
    """In whose name an approved request is carried out."""
    return request.decisions[-1].actor if request.decisions else request.requester


def set_canary(store: Store, request: PromotionRequest) -> Alias:
    """Point the policy's canary alias at the version.

    Raises:
        ProtectedError: a policy protects the canary alias by now.
    """
    alias = str(_canary(store, request)["alias"])
    return store.set_alias(request.name, alias, request.version, actor=_actor(request), reason=_canary_reason(request))


def judge_again(store: Store, request: PromotionRequest, part: Trial, judge: Judge) -> None:
    """Judge the policy's gates again and keep the results, each once: what an interrupted call judged stays.

    After the move, the version is compared with the one that was champion before.
    """
    policy = store.get_policy(request.policy, request.policy_version)
    against = (request.base_version or 0) if part == "soak" else None
    key, known = trial_key(request.key, part), {result.gate for result in results(store, request, part)}
    for gate, specification in zip(PromotionPolicy.from_entity(policy).gates, policy.gates, strict=True):
        if gate.name not in known:
            recorded = RecordedGate(
                key=key,
                name=request.name,
                version=request.version,
                alias=request.alias,
                spec_digest=spec_digest(specification),
                artifact_digest=request.artifact_digest,
                champion_generation=request.base_generation,
                result=judge(gate, key, against),
            )
            store.record_gate_result(recorded)


def results(store: Store, request: PromotionRequest, part: Trial) -> Sequence[GateResult]:
    """What the gates found at the end of the canary, or of the soak; empty before."""
    return [recorded.result for recorded in store.get_gate_results(trial_key(request.key, part))]


def roll_back(store: Store, request: PromotionRequest, why: str) -> Alias:
    """Take the move of a request back, since a gate failed at the end of its soak; once a request.

    Raises:
        StaleRequestError: the alias moved on meanwhile.
    """
    move = move_of(store, request)
    return announced.rollback(
        store,
        request.name,
        request.alias,
        actor=_actor(request),
        reason=why,
        key=f"{trial_key(request.key, 'soak')}-rollback",
        expected_generation=None if move is None else move.generation,
        failed_soak=request.request_id,
    )


def needs_clean_up(store: Store, request: PromotionRequest) -> bool:
    """Whether the policy wants something of a rejected version that was not done yet."""
    if store.get_policy(request.policy, request.policy_version).on_rejection is None:
        return False
    if not was_rejected(store, request):
        return False
    try:
        version = store.get_model_version(request.name, request.version)
    except NotFoundError:
        return False
    return version.tags.get(REJECTED_TAG) != request.request_id


def clean_up(store: Store, request: PromotionRequest) -> Sequence[str]:
    """Do what the policy wants of a rejected version, once a request; returns what could not be done, in sentences."""
    if not needs_clean_up(store, request):
        return ()
    wanted = store.get_policy(request.policy, request.policy_version).on_rejection or {}
    version = store.get_model_version(request.name, request.version)
    problems = [problem for alias in wanted["drop_aliases"] if (problem := _dropped(store, request, version, alias))]
    for key, value in {**wanted["tags"], REJECTED_TAG: request.request_id}.items():
        store.set_model_version_tag(request.name, request.version, key, value)
    return problems


def judge_here(store: Store, request: PromotionRequest) -> Judge:
    """Judges gates in this process, for a request whose flow run does not."""

    def judge(gate: Gate, _key: str, against: int | None) -> GateResult:
        return evaluate_gate(gate, candidate_of(store, request.name, request.version, request.alias, against))

    return judge


def candidate_of(store: Store, name: str, version: int, alias: str, against: int | None = None) -> Candidate:
    """The version beside the one that holds the alias, or beside another one: after a move, it holds the alias itself.

    Args:
        store: where the registry is.
        name: the registered model.
        version: the version under judgement.
        alias: the alias that it asks for, or has.
        against: the version to compare with, 0 for none at all; the one that holds the alias by default.

    Raises:
        NotFoundError: there is no such model or version.
    """
    candidate = Candidate.of(store, name, version, alias)
    if against is None:
        return candidate
    other = Subject(store, store.get_model_version(name, against), candidate.subject.settings) if against else None
    return dataclasses.replace(candidate, champion=other)


def was_rejected(store: Store, request: PromotionRequest) -> bool:
    """Whether gates or people rejected the version, the gates of a soak included."""
    if request.kind is RequestKind.ROLLBACK:
        return False
    return request.status is RequestStatus.REJECTED or failed(results(store, request, "soak")) is not None


def failed(found: Sequence[GateResult]) -> GateResult | None:
    """The first gate that failed."""
    return next((result for result in found if not result.passed), None)


def move_of(store: Store, request: PromotionRequest) -> AliasMove | None:
    """The move that a request made."""
    history = store.alias_history(request.name, request.alias)
    return next((move for move in history if move.request_id == request.request_id), None)


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _before_the_move(store: Store, request: PromotionRequest, policy: Policy) -> Step:
    if policy.canary is None:
        return Step("move")
    alias = str(policy.canary["alias"])
    held = _held(store, request.name, alias)
    if held is None or held.version != request.version:
        other = _canary_of(store, request.name, alias)
        if other is not None and (until := _canary_until(store, other, held)):
            return Step("queue", due=until)
        if other is None and _was_set(store, request, alias):
            where = "was deleted" if held is None else f"was moved to version {held.version} by {held.moved_by}"
            return Step("refuse", why=f"the canary alias @{alias} {where} before its time was over")
        return Step("canary")
    due = max(held.moved_at, decided_at(request)) + _milliseconds(policy.canary)
    judged = results(store, request, "canary")
    if (bad := failed(judged)) is not None:
        return Step("refuse", why=f"the gate {bad.gate!r} failed at the end of the canary: {bad.summary}")
    return Step("move" if _complete(policy, judged) else "judge-canary", due)


def _after_the_move(store: Store, request: PromotionRequest, policy: Policy) -> Step:
    move, held = move_of(store, request), _held(store, request.name, request.alias)
    if policy.soak is None or move is None or held is None or held.generation != move.generation or not policy.gates:
        return DONE
    judged = results(store, request, "soak")
    if (bad := failed(judged)) is not None and held.previous_version is not None:
        return Step("roll-back", why=f"the gate {bad.gate!r} failed at the end of the soak: {bad.summary}")
    if bad is not None or _complete(policy, judged):
        return DONE
    return Step("judge-soak", move.moved_at + _milliseconds(policy.soak))


def _complete(policy: Policy, judged: Sequence[GateResult]) -> bool:
    return {str(gate["name"]) for gate in policy.gates} <= {result.gate for result in judged}


def _dropped(store: Store, request: PromotionRequest, version: ModelVersion, alias: str) -> str:
    """Take an alias from a version that has it; why not, when it stays."""
    if alias not in version.aliases:
        return ""
    try:
        store.delete_alias(
            request.name, alias, actor=_actor(request), reason=f"rejection of promotion request {request.request_id}"
        )
    except ProtectedError as error:
        return f"@{alias} stays on the rejected version {version.version} of {version.name!r}: {error}"
    return ""


def _held(store: Store, name: str, alias: str) -> Alias | None:
    try:
        return store.get_alias(name, alias)
    except NotFoundError:
        return None


def _canary(store: Store, request: PromotionRequest) -> Mapping[str, Any]:
    return store.get_policy(request.policy, request.policy_version).canary or {}


def _canary_of(store: Store, name: str, alias: str) -> PromotionRequest | None:
    """The request that set the canary alias where it is; None when something else did."""
    last = next(reversed(store.alias_history(name, alias)), None)
    if last is None or not last.reason.startswith(_CANARY_OF):
        return None
    try:
        return store.get_request(last.reason.removeprefix(_CANARY_OF))
    except NotFoundError:
        return None


def _canary_until(store: Store, request: PromotionRequest, held: Alias | None) -> int:
    """When to look whether the canary of a request is over, in milliseconds since the epoch; 0 when it is."""
    clause = store.get_policy(request.policy, request.policy_version).canary
    if held is None or clause is None or request.status is not RequestStatus.APPROVED:
        return 0
    end = max(held.moved_at, decided_at(request)) + _milliseconds(clause)
    return 0 if now() > end + _JUDGING else max(end, now() + _LOOK)


def _was_set(store: Store, request: PromotionRequest, alias: str) -> bool:
    reason = _canary_reason(request)
    return any(move.reason == reason for move in store.alias_history(request.name, alias))


def _canary_reason(request: PromotionRequest) -> str:
    return f"{_CANARY_OF}{request.request_id}"


def decided_at(request: PromotionRequest) -> int:
    """When the last decision was made, in milliseconds since the epoch; when it was asked, where there is none."""
    return max((decision.decided_at for decision in request.decisions), default=request.requested_at)


def _milliseconds(clause: Mapping[str, Any]) -> int:
    return round(1000 * float(clause["seconds"]))


def _actor(request: PromotionRequest) -> str:
    """Who does what a policy wants without asking anybody."""
    return f"policy {request.policy}"
