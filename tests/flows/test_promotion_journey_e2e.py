"""Promotions as a team runs them: a Prefect server, process workers, our tracking server, a serving process.

A version is registered; its event starts the shipped flow; the gates are judged; the run is suspended; a person
answers over Prefect's REST API; the alias moves; what serves it swaps. All journeys run at once, each in a thread.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_ml.entities import RequestStatus
from prefect_ml.errors import NotFoundError, PromotionError
from prefect_ml.flowruns.background import client_of
from prefect_ml.flowruns.restart import restart_dead
from prefect_ml.flows.approval import resume_waiting
from prefect_ml.registry.promotion import decide

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect_ml.entities import ModelVersion

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
from journey import FEATURES, Journeys

from holding import Held
from orchestrator import stop, until
from served import COMMAND

JUDGED = {"gate loads": 1, "gate signature_present": 1}
# Seconds that nobody answers a request in.
BRIEF = 4.0

# Within which all is to be over, on a machine that is busy.
SOON = 330

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def going(world, request):
    """The journeys, each begun by a version that was registered; what each comes to is awaited in its test."""
    chosen = {
        item.callspec.params["journey"] for item in request.session.items if item.originalname == "test_a_promotion"
    }
    steps = STEPS if EVERYWHERE in chosen else STEPS[1::2]
    begun = {
        name: play for name, play in JOURNEYS.items() if name in chosen or (name == "killed" and EVERYWHERE in chosen)
    }
    world.orchestrator.start_worker("killed", world.environment)
    old, new, spoilt = (world.log(strength) for strength in (0.01, 1.0, 10.0))
    # Under a name whose new versions nobody promotes.
    champion = world.register("approved", old)
    world.store.rename_registered_model("approved", "journey-approved")
    world.store.set_alias("journey-approved", "champion", champion.version)
    world.protect("journey-expired", name="1 brief", expires_after=BRIEF)
    world.protect("*", name="2 all")
    world.promote_each_new_version("killed", world.deploy("killed"))
    held = world.proxy.hold("create_request", '"killed"', done=steps[0][1])
    models = {name: "killed" if name == "killed" else f"journey-{name}" for name in begun}
    versions = {name: world.register(models[name], spoilt if name == "tampered" else new) for name in begun}
    with ThreadPoolExecutor(len(JOURNEYS)) as threads:
        found = {
            name: threads.submit(play, world, versions[name], *([held, steps] if name == "killed" else []))
            for name, play in begun.items()
        }
        yield {**found, EVERYWHERE: found["killed"]} if EVERYWHERE in chosen else found


def test_the_shipped_deployments_are_complete(world):
    query = {"work_pools": {"name": {"any_": ["ml"]}}}
    found = {each["name"]: each for each in world.api.post("/deployments/filter", query)}
    assert set(found) >= {"promote-model", "deploy-model", "sweep", "reconcile-runs", "train-candidates"}
    for deployment in found.values():
        assert deployment["entrypoint"].startswith("prefect_ml.flows.")
        assert deployment["pull_steps"] in ([], None)
    [schedule] = found["revalidate-champions"]["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "30 3 * * *"
    assert schedule["schedule"]["timezone"] == "UTC"


def never_promoted(world: Journeys, name: str) -> None:
    with pytest.raises(NotFoundError):
        world.store.get_alias(name, "champion")
    assert world.store.alias_history(name, "champion") == []
    assert world.steps(name)["promoted"] == 0


def approved(world: Journeys, version: ModelVersion) -> None:
    """The whole way: asked by an event, approved in the form, moved, and swapped in a process that serves."""
    environment = {"PREFECT_ML_STORE_URL": world.server.url, "PREFECT_ML_SERVE_POLL_INTERVAL": "0.5"}
    command = (COMMAND, "serve", f"models:/{version.name}@champion", "--port", "0")
    process = world.orchestrator.start("serving", *command, environment=environment)
    run_id = world.asked(version)
    text = world.suspended(run_id)
    request = world.request_of(version.name)
    assert (request.status, request.flow_run_id) == (RequestStatus.PENDING, run_id)
    assert all(result.passed for result in request.evidence)
    schema, _ = world.form(run_id)
    assert {"decision", "approver"} <= set(schema["required"])
    assert schema["properties"]["decision"]["enum"] == ["approve", "reject"]
    assert f"Promote {version.name} version {version.version} to @champion?" in text
    assert "champion (version 1)" in text
    assert "accuracy" in text
    assert text.count("✅ passed") == len(request.evidence) == len(JUDGED)

    log = world.orchestrator.folder / "serving.log"
    url = until(lambda: re.search(r"at (http://\S+)", log.read_text()), "the start of what serves")[1]
    with httpx.Client(base_url=url, timeout=30) as serving:
        assert serving.get("/health").json()["version"] == 1
        asking = world.run(run_id)["infrastructure_pid"]
        assert world.answer(run_id) == "REJECT"
        assert world.answer(run_id, decision="maybe", approver="bob") == "REJECT"
        assert world.answer(run_id, decision="approve", approver="") == "REJECT"
        assert world.request_of(version.name).status is RequestStatus.PENDING
        assert world.answer(run_id, decision="approve", approver="bob", reason="more data") == "ACCEPT"
        assert world.wait_for(run_id, "Completed")["infrastructure_pid"] != asking
        until(lambda: serving.get("/health").json()["version"] == version.version, "the swap")
        rows = {"dataframe_split": FEATURES[:2].to_dict(orient="split", index=False)}
        answer = serving.post("/invocations", json=rows)
        assert (answer.status_code, answer.headers["x-model-version"]) == (200, str(version.version))
    stop(process)

    assert world.tasks(run_id) == {**JUDGED, f"move alias for {request.request_id}": 1}
    moved = world.request_of(version.name)
    assert (moved.status, moved.request_id) == (RequestStatus.PROMOTED, request.request_id)
    [decision] = moved.decisions
    assert (decision.actor, decision.approve, decision.reason) == ("bob", True, "more data")
    assert decision.channel == "prefect-ui"
    before, move = world.store.alias_history(version.name, "champion")
    assert (before.version, move.version, move.generation, move.request_id) == (1, 2, 2, request.request_id)
    assert world.steps(version.name) == {"alias-set": 1, "request-created": 1, "request-approved": 1, "promoted": 1}


def rejected(world: Journeys, version: ModelVersion) -> None:
    """A rejection needs a reason: the form comes back; then it is decided elsewhere, and the run goes on."""
    run_id = world.asked(version)
    world.suspended(run_id)
    assert world.answer(run_id, decision="reject", approver="cara") == "ACCEPT"
    world.suspended(run_id, saying="refused")
    request = world.request_of(version.name)
    decided = decide(
        world.store, request.request_id, approve=False, actor="cara", reason="worse than before", channel="cli"
    )
    with temporary_settings({PREFECT_API_URL: world.orchestrator.url}):
        resume_waiting(decided)  # unless who reconciles was faster
    assert world.wait_for(run_id, "Rejected")["state"]["type"] == "COMPLETED"
    found = world.request_of(version.name)
    assert (found.status, found.request_id) == (RequestStatus.REJECTED, request.request_id)
    [decision] = found.decisions
    assert (decision.actor, decision.approve, decision.reason) == ("cara", False, "worse than before")
    assert decision.channel == "cli"
    assert world.tasks(run_id) == JUDGED
    assert world.steps(version.name) == {"request-created": 1, "request-rejected": 1}
    never_promoted(world, version.name)


def expired(world: Journeys, version: ModelVersion) -> None:
    """Nobody answers in time: the run ends, and an approval that comes later is told so."""
    run_id = world.asked(version)
    world.wait_for(run_id, "Expired", "Failed")
    request = world.request_of(version.name)
    assert request.status is RequestStatus.EXPIRED
    assert world.answer(run_id, decision="approve", approver="bob") != "ACCEPT"
    with pytest.raises(PromotionError, match="EXPIRED"):
        decide(world.store, request.request_id, approve=True, actor="bob")
    with pytest.raises(PromotionError, match="EXPIRED"):
        world.store.promote(request.request_id, artifact_digest=request.artifact_digest, actor="bob")
    never_promoted(world, version.name)


def tampered(world: Journeys, version: ModelVersion) -> None:
    """A file of the version is changed between the request and the approval: nothing moves, whoever approved it."""
    run_id = world.asked(version)
    world.suspended(run_id)
    request = world.request_of(version.name)
    [weights] = world.files(version).glob("model.*")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert world.answer(run_id, decision="approve", approver="bob") == "ACCEPT"
    ended = world.wait_for(run_id, "Failed")
    assert "CorruptArtifactError" in ended["state"]["message"]
    sent_back = world.store.get_request(request.request_id)
    assert [each.approve for each in sent_back.decisions] == [True]
    assert sent_back.status is RequestStatus.SUPERSEDED
    assert "artifact" in sent_back.status_reason
    assert "SUPERSEDED" in world.artifact(run_id, f"promotion-{version.name}-champion-decision")
    assert world.request_of(version.name).request_id == request.request_id, "nobody is asked again"
    never_promoted(world, version.name)


def twice(world: Journeys, version: ModelVersion) -> None:
    """Two people press Resume at once: one answer counts, and the alias moves once."""
    run_id = world.asked(version)
    world.suspended(run_id)
    with ThreadPoolExecutor(2) as people:
        pressed = [
            people.submit(world.answer, run_id, decision="approve", approver=who, reason="good")
            for who in ("bob", "cy")
        ]
        answers = Counter(each.result() for each in pressed)
    assert answers["ACCEPT"] == 1
    assert answers["ABORT"] + answers["CONFLICT"] == 1
    world.wait_for(run_id, "Completed")
    request = world.request_of(version.name)
    assert request.status is RequestStatus.PROMOTED
    [decision] = request.decisions
    assert decision.actor in ("bob", "cy")
    assert world.tasks(run_id) == {**JUDGED, f"move alias for {request.request_id}": 1}
    assert world.steps(version.name) == {"request-created": 1, "request-approved": 1, "promoted": 1}
    # A third one, who finds an old page open.
    assert world.answer(run_id, decision="approve", approver="dan") in ("ABORT", "CONFLICT")


def requester(world: Journeys, version: ModelVersion) -> None:
    """Four eyes: who registered the version asks, and may not answer; the form comes back for somebody else."""
    run_id = world.asked(version)
    world.suspended(run_id)
    request = world.request_of(version.name)
    assert world.answer(run_id, decision="approve", approver=request.requester.upper()) == "ACCEPT"
    text = world.suspended(run_id, saying="refused")
    assert "four eyes" in text
    assert world.request_of(version.name).decisions == ()
    assert world.answer(run_id, decision="approve", approver="bob") == "ACCEPT"
    world.wait_for(run_id, "Completed")
    found = world.request_of(version.name)
    assert (found.status, found.request_id) == (RequestStatus.PROMOTED, request.request_id)
    assert [each.actor for each in found.decisions] == ["bob"]
    assert world.steps(version.name) == {"request-created": 1, "request-approved": 1, "promoted": 1}


# The calls of the store that a promotion is made of, and whether the process dies after them, or before.
STEPS = [("create_request", False), ("create_request", True), ("decide", True), ("promote", True)]
# The killed journey with all of them; every second one does otherwise.
EVERYWHERE = "killed at each step"


def killed(world: Journeys, version: ModelVersion, held: Held, steps: list[tuple[str, bool]]) -> None:
    """The process is killed at each of these steps, and reconciling starts it again: each step took place once.

    The first time the worker is killed too, and the shipped automation has it reconciled.
    """
    run_id = world.asked(version)
    for step in range(1, len(steps) + 1):
        until(partial(_reached, world, run_id, held), f"step {step} of the flow run {run_id}", SOON)
        if step == 1:
            world.orchestrator.kill_worker("killed")
        let_go = held.let_go
        if step < len(steps):
            path, done = steps[step]
            marker = '"killed"' if path == "create_request" else world.request_of("killed").request_id
            held = world.proxy.hold(path, marker, done=done)
        world.kill(run_id)
        let_go()
        if step == 1:
            world.orchestrator.restart_worker("killed")
            world.crashed(run_id)
            until(lambda: world.state(run_id) != "Crashed", f"the reconciliation of the flow run {run_id}", SOON)
            world.stop_automation("a promotion crashed -> reconcile-runs")
        else:
            until(lambda: world.state(run_id) == "Crashed", f"the worker's report of the death of {run_id}")
            with client_of(world.orchestrator.url) as client:
                assert run_id in restart_dead(world.store, client, ("promote-model",))
    until(lambda: _brought_on(world, run_id) == "Completed", f"the end of the flow run {run_id}", SOON)
    assert world.run(run_id)["run_count"] > len(steps)
    [request] = world.store.list_requests(name="killed")
    assert request.status is RequestStatus.PROMOTED
    assert [each.actor for each in request.decisions] == ["bob"]
    [move] = world.store.alias_history("killed", "champion")
    assert (move.version, move.generation, move.request_id) == (version.version, 1, request.request_id)
    assert world.steps("killed") == {"request-created": 1, "request-approved": 1, "promoted": 1}


def _reached(world: Journeys, run_id: str, held: Held) -> bool:
    _brought_on(world, run_id)
    return held.reached


def _brought_on(world: Journeys, run_id: str) -> str:
    """The name of the run's state; when it asks, it is answered, as a person would who is asked again."""
    state = world.state(run_id)
    if state == "Suspended":
        world.answer(run_id, decision="approve", approver="bob")
    return state


JOURNEYS: dict[str, Callable[..., None]] = {
    journey.__name__: journey for journey in (killed, requester, rejected, approved, twice, tampered, expired)
}


@pytest.mark.parametrize("journey", [*JOURNEYS, pytest.param(EVERYWHERE, marks=pytest.mark.long)])
def test_a_promotion(going, journey):
    going[journey].result(SOON)


def test_the_audit_log_holds(world, going):
    wait(going.values())
    assert world.store.verify_audit() == len(world.store.audit())
