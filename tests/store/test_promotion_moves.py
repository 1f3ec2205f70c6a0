"""Carrying out requests on both databases and behind a server: once, for what was approved, and raced for."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from prefect_ml.entities import RequestStatus, Stage
from prefect_ml.errors import NotFoundError, StaleRequestError
from promoting_at_store import actions, approve, approved, ask, churn, clock, move, save


@pytest.fixture
def model(store):
    return churn(store)


def test_moving_again_answers_as_the_first_time_and_moves_nothing(model):
    first = approved(model, 1)
    moved = move(model, first)
    second = approved(model, 2)
    move(model, second)
    rows = len(model.audit())
    assert move(model, first, actor="someone else") == moved
    assert model.get_alias("churn", "champion").version == 2
    assert len(model.audit()) == rows


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


def test_an_alias_that_somebody_moved_while_nothing_protected_it_is_not_moved_back(model):
    move(model, approved(model, 1))
    request = approved(model, 2)
    save(model, aliases=("other",))
    model.set_alias("churn", "champion", 3, actor="eve")
    with pytest.raises(StaleRequestError, match="moved to version 3 by eve meanwhile"):
        move(model, request)
    assert model.get_alias("churn", "champion").version == 3
    assert model.get_request(request.request_id).status is RequestStatus.SUPERSEDED


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


def test_a_move_closes_the_other_open_requests_and_says_which_won(model):
    first, second, third, elsewhere = approved(model), ask(model, 2), approved(model, 3), ask(model, 4, key="x")
    save(model, aliases=("champion", "shadow"))
    other = ask(model, 2, alias="shadow")
    save(model)
    del elsewhere
    assert model.get_request(first.request_id).status is RequestStatus.APPROVED
    winner = approved(model, 3, key="winner")
    move(model, winner, actor="cem")
    why = f"@champion was moved to version 3 by cem meanwhile (generation 1, not 0), by the request {winner.request_id}"
    for loser in (first, second, third):
        found = model.get_request(loser.request_id)
        assert (found.status, found.status_reason) == (RequestStatus.SUPERSEDED, why)
        with pytest.raises(StaleRequestError, match="by the request"):
            move(model, loser)
    assert model.get_request(other.request_id).status is RequestStatus.PENDING
    assert actions(model).count("request-superseded") == 4


@pytest.mark.parametrize(
    ("rule", "status", "why"),
    [
        ({"approval_valid_for": 60.0}, "EXPIRED", "it was approved 61 seconds ago, and by the policy 'champions' an"),
        ({"evidence_valid_for": 90.0}, "SUPERSEDED", "its gates were judged 9[0-9] seconds ago"),
        ({"approval_valid_for": 60.0, "approvals": 0}, "EXPIRED", "it was approved 9[0-9] seconds ago"),
    ],
)
def test_an_approval_and_evidence_count_for_as_long_as_the_policy_says(model, rule, status, why):
    save(model, **rule)
    with clock() as time:
        request, fresh = ask(model), ask(model, 2)
        time.pass_(30)
        request, fresh = (
            each if each.status is RequestStatus.APPROVED else approve(model, each) for each in (request, fresh)
        )
        assert request.status is RequestStatus.APPROVED
        time.pass_(61)
        with pytest.raises(StaleRequestError, match=why):
            move(model, request)
        assert model.get_request(request.request_id).status.value == status
        assert model.verify_audit() == len(model.audit())
        again = ask(model, 3) if rule.get("approvals") == 0 else approved(model, 3)
        time.pass_(30)
        assert move(model, again).version == 3
    del fresh


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
