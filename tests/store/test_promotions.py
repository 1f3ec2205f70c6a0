"""Promotion requests on both databases: asked, decided, carried out, rolled back, and raced for."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text

from prefect_ml.entities import Decision, GateResult, Policy, RequestStatus, Stage
from prefect_ml.errors import (
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    PromotionError,
    StaleRequestError,
)

DIGEST = "sha256:ab"
GATES = ({"name": "auc", "kind": "metric_threshold"}, {"name": "loads", "kind": "loads"})
PASSED = [
    GateResult("auc", True, "0.9", {"auc": 0.9, "worst": float("nan"), 5: (1, 2)}),
    GateResult("loads", True, "yes"),
]


@pytest.fixture
def model(store):
    """Model `churn` with four versions, and a policy of one approval for its champion."""
    store.create_registered_model("churn")
    for _ in range(4):
        store.create_model_version("churn", "s", artifact_digest=DIGEST)
    save(store)
    return store


def save(store, **changes):
    given = {"name": "champions", "version": 0, "model_pattern": "churn", "aliases": ("champion",), "gates": GATES}
    return store.save_policy(Policy(**(given | changes)), actor="ops", reason="a test")


def ask(store, version=1, **changes):
    given = {
        "key": f"ask {version} {len(store.list_requests())}",
        "name": "churn",
        "version": version,
        "alias": "champion",
        "stage": None,
        "requester": "bob",
        "artifact_digest": DIGEST,
        "evidence": PASSED,
        "policy": "champions",
        "policy_version": store.get_policy("champions").version,
    }
    return store.create_request(**(given | changes))


def approve(store, request, actor="ann"):
    return store.decide(request.request_id, Decision(actor, True, "fine", 1, "test"))


def reject(store, request, actor="ann"):
    return store.decide(request.request_id, Decision(actor, False, "no", 1, "test"))


def approved(store, version=1, **changes):
    return approve(store, ask(store, version, **changes))


def move(store, request, actor="ann"):
    return store.promote(request.request_id, artifact_digest=DIGEST, actor=actor)


def overdue(store, request):
    """As if the request's time were over."""
    late = text("UPDATE promotion_requests SET expires_at = 1 WHERE request_id = :id")
    store.database.write(lambda connection: connection.execute(late, {"id": request.request_id}) and None)


def actions(store):
    return [entry.action for entry in store.audit()]


def test_asked_approved_and_moved(model):
    request = ask(model, stage="production", flow_run_id="run")
    assert (request.status, request.stage, request.flow_run_id) == (RequestStatus.PENDING, "Production", "run")
    assert (request.base_generation, request.base_version) == (0, None)
    assert request.expires_at - request.requested_at == 7 * 24 * 3600 * 1000
    assert request.evidence[1] == PASSED[1]
    assert request.evidence[0].evidence["5"] == [1, 2]
    assert request.evidence_digest.startswith("sha256:")
    frozen = MappingProxyType({"auc": 0.9})
    assert ask(model, 2, evidence=[GateResult("auc", True, "", frozen), PASSED[1]]).evidence[0].evidence == frozen
    assert approve(model, request).status is RequestStatus.APPROVED
    model.set_alias("churn", "other", 2)
    alias = move(model, request, actor="cem")
    assert (alias.version, alias.generation, alias.previous_version) == (1, 1, None)
    assert (alias.moved_by, alias.request_id) == ("cem", request.request_id)
    assert model.get_alias("churn", "champion") == alias
    assert model.get_model_version("churn", 1).stage is Stage.PRODUCTION
    found = model.get_request(request.request_id)
    assert found.status is RequestStatus.PROMOTED
    assert [(d.actor, d.approve, d.reason, d.channel) for d in found.decisions] == [("ann", True, "fine", "test")]
    assert actions(model)[-5:] == ["request-created", "request-approved", "alias-set", "stage-changed", "promoted"]
    promoted = model.audit()[-1]
    assert (promoted.evidence_digest, promoted.actor) == (request.evidence_digest, "cem")


def test_moving_again_answers_as_the_first_time_and_moves_nothing(model):
    first = approved(model, 1)
    moved = move(model, first)
    move(model, approved(model, 2))
    rows = len(model.audit())
    assert move(model, first, actor="someone else") == moved
    assert model.get_alias("churn", "champion").version == 2
    assert len(model.audit()) == rows


def test_the_same_key_gives_the_same_request(model):
    first = ask(model, key="once")
    assert ask(model, 2, key="once", evidence=[]) == first
    assert model.get_request_by_key("once") == first
    assert model.get_request_by_key("never") is None
    assert len(model.list_requests()) == 1


def test_a_failed_or_missing_gate_is_a_rejection_from_birth(model):
    failed = ask(model, evidence=[GateResult("auc", False, "0.4 is below 0.5"), PASSED[1]])
    assert (failed.status, failed.status_reason) == (RequestStatus.REJECTED, "the gate 'auc' failed: 0.4 is below 0.5")
    missing = ask(model, 2, evidence=PASSED[:1])
    assert (missing.status, missing.status_reason) == (
        RequestStatus.REJECTED,
        "there is no evidence for the gate 'loads'",
    )
    for request in (failed, missing):
        with pytest.raises(PromotionError, match="is REJECTED"):
            approve(model, request)
        with pytest.raises(PromotionError, match="is REJECTED"):
            move(model, request)


def test_a_gate_that_passed_only_nearly_is_none(model, place):
    """What is sent has the types that it should have."""
    evidence = [GateResult("auc", "yes", ""), PASSED[1]]
    if place == "http":
        with pytest.raises(InvalidInputError, match="passed must be True or False, got 'yes'"):
            ask(model, evidence=evidence)
    else:
        assert ask(model, evidence=evidence).status is RequestStatus.REJECTED


def test_no_approval_is_asked_where_the_policy_asks_none(model):
    save(model, approvals=0)
    request = ask(model)
    assert request.status is RequestStatus.APPROVED
    assert move(model, request).generation == 1


def test_approvals_count_people_and_a_person_may_change_their_mind(model):
    save(model, approvals=2, approvers=("ann", "bob", "cem"))
    request = ask(model)
    assert approve(model, request).status is RequestStatus.PENDING
    again = approve(model, request)
    assert (again.status, len(again.decisions)) == (RequestStatus.PENDING, 1)
    with pytest.raises(NotAllowedError, match=r"'eve' is no approver of the policy 'champions'; ask one of ann, bob"):
        approve(model, request, "eve")
    with pytest.raises(PromotionError, match=r"is PENDING; only an approved one moves its alias. Approve it first"):
        move(model, request)
    done = approve(model, request, "bob")
    assert (done.status, done.status_reason) == (RequestStatus.APPROVED, "approved by ann, bob")
    assert approve(model, request, "bob") == done
    with pytest.raises(PromotionError, match="is APPROVED"):
        approve(model, request, "cem")
    other = ask(model, 2)
    approve(model, other)
    assert reject(model, other).status is RequestStatus.REJECTED
    assert reject(model, other).status is RequestStatus.REJECTED
    with pytest.raises(PromotionError, match="is REJECTED"):
        approve(model, other, "bob")


def test_nobody_counts_twice(model):
    save(model, approvals=2)
    request = ask(model)
    for name in ("ann", "Ann", " ann "):
        assert approve(model, request, name).status is RequestStatus.PENDING
    assert approve(model, request, "cem").status is RequestStatus.APPROVED


def test_four_eyes_and_words(model):
    save(model, four_eyes=True)
    request = ask(model)
    for decision in (approve, reject):
        for name in ("bob", " Bob", "ＢＯＢ"):  # noqa: RUF001  the same name in other letters
            with pytest.raises(NotAllowedError, match=r"'.*' asked for the promotion .* wants four eyes"):
                decision(model, request, name)
    with pytest.raises(InvalidInputError, match="True or False, got 'no'"):
        model.decide(request.request_id, Decision("ann", "no", "", 1))
    with pytest.raises(InvalidInputError, match="The reason of a rejection must not be empty"):
        model.decide(request.request_id, Decision("ann", False, "  ", 1))
    with pytest.raises(InvalidInputError, match="The actor of a decision must not be empty"):
        model.decide(request.request_id, Decision("", True, "", 1))
    with pytest.raises(InvalidInputError, match="at most 2000"):
        model.decide(request.request_id, Decision("ann", True, "x" * 2001, 1))
    with pytest.raises(InvalidInputError, match=r"(The time of a decision|decided_at) must be an integer"):
        model.decide(request.request_id, Decision("ann", True, "", 1.5))
    assert model.get_request(request.request_id) == request


def test_a_request_whose_time_is_over_can_be_neither_decided_nor_carried_out(model):
    pending, ready = ask(model), approved(model, 2)
    for request in (pending, ready):
        overdue(model, request)
        assert model.get_request(request.request_id).status is RequestStatus.EXPIRED
    assert len(model.list_requests(status=RequestStatus.EXPIRED)) == 2
    assert model.list_requests(status=RequestStatus.PENDING) == []
    with pytest.raises(PromotionError, match="is EXPIRED"):
        approve(model, pending)
    with pytest.raises(StaleRequestError, match="is EXPIRED: its time is over"):
        move(model, ready)
    with pytest.raises(StaleRequestError, match="is EXPIRED"):
        move(model, ready)
    assert actions(model)[-2:] == ["request-expired", "request-expired"]
    assert stored(model) == {"EXPIRED"}
    save(model, expires_after=0.001)
    brief = ask(model, 3)
    assert brief.expires_at == brief.requested_at + 1


def stored(store):
    with store.database.read() as connection:
        return set(connection.execute(text("SELECT status FROM promotion_requests")).scalars())


def test_what_changed_since_supersedes_a_request_for_good(model):
    kinds = ("moved", "evidence", "digest", "version", "policy")
    save(model, aliases=("champion", *kinds))

    def change_evidence():
        statement = text(
            "UPDATE promotion_requests SET evidence = replace(evidence, '0.9', '0.8') WHERE alias = 'evidence'"
        )
        model.database.write(lambda connection: connection.execute(statement) and None)

    def change_digest():
        statement = text("UPDATE model_versions SET artifact_digest = 'x' WHERE version = 2")
        model.database.write(lambda connection: connection.execute(statement) and None)

    for alias, change, why in (
        ("moved", lambda: move(model, approved(model, 3, alias="moved")), "moved to version 3 by ann meanwhile"),
        ("evidence", change_evidence, "the evidence was changed"),
        ("digest", change_digest, "the artifact is not the one that was asked for"),
        ("version", lambda: model.delete_model_version("churn", 4), "version 4 was deleted"),
        (
            "policy",
            lambda: save(model, approvals=3, aliases=kinds),
            "the policy in force is version 3 of 'champions' now",
        ),
    ):
        request = approved(model, {"digest": 2, "version": 4}.get(alias, 1), alias=alias)
        change()
        for _ in range(2):
            with pytest.raises(StaleRequestError, match=f"is SUPERSEDED: .*{why}"):
                move(model, request)
        assert model.get_request(request.request_id).status is RequestStatus.SUPERSEDED, alias
        assert actions(model).count("request-superseded") == 1 + kinds.index(alias)
    save(model)
    request = approved(model)
    with pytest.raises(StaleRequestError, match="the artifact is not the one"):
        model.promote(request.request_id, artifact_digest="sha256:other", actor="ann")
    with pytest.raises(NotFoundError):
        model.get_alias("churn", "evidence")


def test_a_deleted_alias_supersedes_and_so_does_the_end_of_the_model(model):
    move(model, approved(model))
    request, other = approved(model, 2), ask(model, 3)
    save(model, aliases=("elsewhere",))
    model.delete_alias("churn", "champion")
    with pytest.raises(StaleRequestError, match="@champion was deleted meanwhile"):
        move(model, request)
    model.rename_registered_model("churn", "renamed")
    assert model.get_request(other.request_id).status_reason == "the model was renamed to 'renamed'"
    model.rename_registered_model("renamed", "churn")
    save(model)
    last = ask(model)
    model.delete_registered_model("churn")
    assert model.get_request(last.request_id).status is RequestStatus.SUPERSEDED


def test_only_the_policy_in_force_can_be_asked_under(model):
    save(model, name="lax", model_pattern="lab", approvals=0, gates=())
    lax = {"policy": "lax", "policy_version": 1, "evidence": []}
    with pytest.raises(
        PromotionError, match="protected by version 1 of the policy 'champions', not by version 1 of 'lax'"
    ):
        ask(model, **lax)
    with pytest.raises(PromotionError, match="protected by no policy"):
        ask(model, alias="free")
    save(model, approvals=2)
    with pytest.raises(PromotionError, match="protected by version 2"):
        ask(model, policy_version=1)
    save(model, name="stages", aliases=(), stages=("Production",))
    with pytest.raises(
        PromotionError, match="The stage 'Production' of model 'churn' is protected by the policy 'stages'"
    ):
        ask(model, stage="Production")
    assert ask(model, stage="Staging").status is RequestStatus.PENDING


def test_a_stage_protected_after_the_request_is_not_entered(model):
    request = approved(model, stage="Production")
    save(model, name="stages", aliases=(), stages=("Production",))
    with pytest.raises(StaleRequestError, match="the policy 'stages' protects the stage now"):
        move(model, request)
    assert model.get_model_version("churn", 1).stage is Stage.NONE


def test_a_promotion_to_a_stage_archives_who_was_there(model):
    save(model, stages=("Production",))
    for version in (1, 2):
        move(model, approved(model, version, stage="Production"))
    assert [model.get_model_version("churn", n).stage.value for n in (1, 2)] == ["Archived", "Production"]
    move(model, approved(model, 2, stage="None"))
    assert [model.get_model_version("churn", n).stage.value for n in (2, 3)] == ["None", "None"]


def test_what_cannot_be_meant_is_refused_and_leaves_nothing(model):
    rows = len(model.audit())
    for changes in (
        {"key": ""},
        {"key": None},
        {"requester": " "},
        {"alias": "latest"},
        {"stage": "Nowhere"},
        {"version": "1"},
        {"artifact_digest": "sha256:other"},
        {"evidence": [GateResult("auc", True, "", {"model": object()})]},
        {"evidence": [GateResult("auc", True, "", {"curve": "x" * 1_000_001})]},
        {"flow_run_id": 5},
    ):
        with pytest.raises(InvalidInputError):
            ask(model, **changes)
    with pytest.raises(NotFoundError):
        ask(model, 9)
    with pytest.raises(NotFoundError):
        ask(model, name="nobody")
    for call in (
        lambda: model.get_request("nope"),
        lambda: model.get_request("a\x00"),
        lambda: model.decide("nope", Decision("ann", True, "", 1)),
        lambda: model.promote("nope", artifact_digest=DIGEST, actor="ann"),
    ):
        with pytest.raises(NotFoundError, match="There is no promotion request"):
            call()
    for request_id in ("\ud800", None):
        with pytest.raises((NotFoundError, InvalidInputError)):  # the latter where it cannot even be sent
            model.get_request(request_id)
    assert (len(model.audit()), model.list_requests()) == (rows, [])


def test_requests_are_listed_newest_first(model):
    first, second = ask(model), approved(model, 2)
    assert [r.request_id for r in model.list_requests()] == [second.request_id, first.request_id]
    assert model.list_requests(max_results=1) == [second]
    assert model.list_requests(status=RequestStatus.PENDING, name="churn") == [first]
    assert model.list_requests(name="other") == []


def test_rolling_back_and_forth(model):
    with pytest.raises(NotFoundError):
        model.rollback("churn", "champion", actor="ann", reason="x")
    move(model, approved(model, 1))
    with pytest.raises(PromotionError, match="no previous version to go back to"):
        model.rollback("churn", "champion", actor="ann", reason="x")
    move(model, approved(model, 2))
    waiting = approved(model, 3)
    with pytest.raises(InvalidInputError, match="The reason of a rollback must not be empty"):
        model.rollback("churn", "champion", actor="ann", reason="")
    back = model.rollback("churn", "champion", actor="ann", reason="it drifts")
    assert (back.version, back.generation, back.previous_version, back.request_id) == (1, 3, 2, None)
    entry = model.audit()[-1]
    assert (entry.action, entry.reason, entry.actor) == ("rolled-back", "it drifts", "ann")
    assert (entry.before["version"], entry.after["version"]) == (2, 1)
    with pytest.raises(StaleRequestError, match="generation 3, not 2"):
        move(model, waiting)
    assert model.rollback("churn", "champion", actor="ann", reason="it was the data").version == 2


def test_a_version_promoted_again_keeps_what_was_before(model):
    for version in (1, 2, 2):
        alias = move(model, approved(model, version))
    assert (alias.generation, alias.previous_version) == (3, 1)


def test_of_twenty_threads_one_wins(model):
    requests = [approved(model, 1 + number % 4, key=f"race {number}") for number in range(20)]
    ready = threading.Barrier(20)

    def race(request):
        ready.wait()
        try:
            return move(model, request, actor=request.key)
        except StaleRequestError as error:
            return str(error)

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(race, requests))
    winners = [result for result in results if not isinstance(result, str)]
    assert len(winners) == 1
    assert model.get_alias("churn", "champion") == winners[0]
    told = f"moved to version {winners[0].version} by {winners[0].moved_by} meanwhile (generation 1, not 0)"
    assert [result for result in results if isinstance(result, str) and told not in result] == []
    assert len(model.list_requests(status=RequestStatus.SUPERSEDED)) == 19
    assert len(model.alias_history("churn", "champion")) == 1
    assert model.verify_audit() == len(model.audit())


RACER = """
import sys
from prefect_ml.errors import StaleRequestError
from prefect_ml.store import open_store
store = open_store(sys.argv[1])
store.get_request(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
try:
    print("won", store.promote(sys.argv[2], artifact_digest="sha256:ab", actor=sys.argv[2]).generation)
except StaleRequestError as error:
    print("lost", error)
"""


def test_of_several_processes_one_wins(model, store_url):
    requests = [approved(model, number, key=f"race {number}") for number in range(1, 5)]
    with contextlib.ExitStack() as started:
        racers = [
            started.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", RACER, store_url, request.request_id],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for request in requests
        ]
        assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 4
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        answers = [racer.communicate(timeout=60)[0] for racer in racers]
    assert sorted(answer.split()[0] for answer in answers) == ["lost", "lost", "lost", "won"], answers
    assert model.get_alias("churn", "champion").generation == 1
    assert model.verify_audit() == len(model.audit())


PROMOTER = """
import itertools, sys
from prefect_ml.entities import Decision, GateResult
from prefect_ml.store import open_store
store = open_store(sys.argv[1])
passed = [GateResult("auc", True, ""), GateResult("loads", True, "")]
for turn in itertools.count():
    request = store.create_request(
        key=f"{sys.argv[2]} {turn}", name="churn", version=1 + turn % 4, alias="champion", stage="Production",
        requester="bob", artifact_digest="sha256:ab", evidence=passed, policy="champions", policy_version=1,
    ).request_id
    store.decide(request, Decision("ann", True, "", 1))
    print(store.promote(request, artifact_digest="sha256:ab", actor="ann").generation, flush=True)
"""


@pytest.mark.parametrize("after", [1, 4])
def test_a_promotion_cut_by_a_kill_is_whole_or_not_there(model, store_url, after):
    for life in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", PROMOTER, store_url, str(life)], stdout=subprocess.PIPE, text=True
        ) as process:
            acknowledged = [int(process.stdout.readline()) for _ in range(after)][-1]
            process.kill()
        alias = model.get_alias("churn", "champion")
        history = model.alias_history("churn", "champion")
        assert acknowledged <= alias.generation <= acknowledged + 200
        assert [move.generation for move in history] == list(range(1, alias.generation + 1))
        assert (history[-1].version, history[-1].request_id) == (alias.version, alias.request_id)
        promoted = {r.request_id for r in model.list_requests(status=RequestStatus.PROMOTED, max_results=1000)}
        assert promoted == {move.request_id for move in history}
        told = [entry.after["request"] for entry in model.audit(max_results=50_000) if entry.action == "promoted"]
        assert told == [move.request_id for move in history]
        assert [v.version for v in model.latest_versions("churn", [Stage.PRODUCTION])] == [alias.version]
        assert model.verify_audit() == len(model.audit(max_results=50_000))


PEOPLE = st.sampled_from(["ann", "bob", "cem"])


class Promotions(RuleBasedStateMachine):
    """Any interleaving of what people may do, next to a small model of what must come of it."""

    count = 0

    def __init__(self, store):
        super().__init__()
        type(self).count += 1
        self.store, self.name = store, f"model {type(self).count}"
        self.policy = 0
        self.approvals = {}
        self.requests = {}  # id: [status, requester, approvals needed, {actor: approve}, version, generation, policy]
        self.moves = []  # (version, previous)
        store.create_registered_model(self.name)
        for _ in range(3):
            store.create_model_version(self.name, "s", artifact_digest=DIGEST)
        self.tighten(2)

    @property
    def generation(self):
        return len(self.moves)

    def pick(self, data):
        return data.draw(st.sampled_from(list(self.requests)))  # in the order of asking: ids are random

    @rule(approvals=st.integers(0, 2))
    def tighten(self, approvals):
        rules = Policy(self.name, 0, self.name, ("champion",), approvals=approvals, four_eyes=True)
        self.policy = self.store.save_policy(rules, actor="ops", reason="a rule").version
        self.approvals[self.policy] = approvals

    @rule(version=st.integers(1, 3), requester=PEOPLE, passed=st.sampled_from([True, True, True, False]))
    def ask(self, version, requester, passed):
        made = self.store.create_request(
            key=f"{self.name} {len(self.requests)}",
            name=self.name,
            version=version,
            alias="champion",
            stage=None,
            requester=requester,
            artifact_digest=DIGEST,
            evidence=[GateResult("g", passed, "")],
            policy=self.name,
            policy_version=self.policy,
        )
        needed = self.approvals[self.policy]
        status = "REJECTED" if not passed else "PENDING" if needed else "APPROVED"
        self.requests[made.request_id] = [status, requester, needed, {}, version, self.generation, self.policy]

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), actor=PEOPLE, yes=st.booleans())
    def decide(self, data, actor, yes):
        request = self.pick(data)
        status, requester, needed, said, *_ = self.requests[request]
        decision = Decision(actor, yes, "because", 1)
        if said.get(actor) == yes:
            self.store.decide(request, decision)
        elif status != "PENDING" or actor == requester:
            with pytest.raises(PromotionError):
                self.store.decide(request, decision)
        else:
            said[actor] = yes
            if not yes:
                self.requests[request][0] = "REJECTED"
            elif sum(said.values()) >= needed:
                self.requests[request][0] = "APPROVED"
            assert self.store.decide(request, decision).status == self.requests[request][0]

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def time_passes(self, data):
        request = self.pick(data)
        overdue(self.store, self.store.get_request(request))
        if self.requests[request][0] in ("PENDING", "APPROVED"):
            self.requests[request][0] = "EXPIRED"

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def move(self, data):
        request = self.pick(data)
        status, _, _, _, version, generation, policy = self.requests[request]
        if status == "APPROVED" and (policy, generation) == (self.policy, self.generation):
            before = self.moves[-1] if self.moves else (None, None)
            self.moves.append((version, before[1] if before[0] == version else before[0]))
            self.requests[request][0] = "PROMOTED"
        elif status == "APPROVED":
            self.requests[request][0] = "SUPERSEDED"
        if status == "PROMOTED" or self.requests[request][0] == "PROMOTED":
            moved = self.store.promote(request, artifact_digest=DIGEST, actor="ann")
            assert moved.request_id == request
        else:
            error = PromotionError if status in ("PENDING", "REJECTED") else StaleRequestError
            with pytest.raises(error):
                self.store.promote(request, artifact_digest=DIGEST, actor="ann")

    @precondition(lambda self: self.moves)
    @rule()
    def rollback(self):
        version, previous = self.moves[-1]
        if previous is None:
            with pytest.raises(PromotionError):
                self.store.rollback(self.name, "champion", actor="ann", reason="back")
        else:
            self.store.rollback(self.name, "champion", actor="ann", reason="back")
            self.moves.append((previous, version))

    @invariant()
    def every_state_is_the_models(self):
        found = {r.request_id: r.status.value for r in self.store.list_requests(name=self.name)}
        assert found == {request: known[0] for request, known in self.requests.items()}
        history = self.store.alias_history(self.name, "champion")
        assert [(m.generation, m.version, m.previous_version) for m in history] == [
            (number, *move) for number, move in enumerate(self.moves, 1)
        ]
        if self.moves:
            alias = self.store.get_alias(self.name, "champion")
            assert (alias.version, alias.previous_version, alias.generation) == (*self.moves[-1], self.generation)

    def teardown(self):
        assert self.store.verify_audit() == self.store.audit(max_results=50_000)[-1].sequence


def test_any_interleaving_leaves_a_legal_state_and_a_whole_chain(store, place):
    examples = {"sqlite": 30, "postgresql": 8, "http": 3}[place]
    bounds = settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: Promotions(store), settings=bounds)
