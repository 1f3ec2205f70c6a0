"""Any interleaving of what people, time and death may do to promotions leaves a legal state and a whole chain."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from prefect_ml.entities import Decision, GateResult, Policy, Stage
from prefect_ml.errors import NotFoundError, PromotionError, ProtectedError, StaleRequestError
from promoting_at_store import DIGEST, clock

PEOPLE = st.sampled_from(["ann", "bob", "cem"])
VERSIONS = st.integers(1, 3)
OPEN = ("PENDING", "APPROVED")
# Examples, and whether one may die in each; behind a server, the process that writes is not the one that would die.
BOUNDS = {"sqlite": (15, True), "postgresql": (4, True), "http": (2, False)}


@dataclass
class Asked:
    status: str
    back: bool
    requester: str
    version: int
    stage: str | None
    generation: int
    policy: int
    said: dict[str, bool] = field(default_factory=dict)


class Promotions(RuleBasedStateMachine):
    """What may happen, next to a small model of what must come of it."""

    count = deaths = 0

    def __init__(self, store, time, kill, mortal):
        super().__init__()
        type(self).count += 1
        self.store, self.time, self.kill, self.mortal = store, time, kill, mortal
        self.name = f"model {type(self).count}"
        self.policy, self.approvals = 0, {}
        self.requests = {}
        self.moves = []  # (version, previous, stages that changed: {version: (before, after)})
        self.approved = set()  # versions that a request brought to the alias
        self.blue = None
        self.stages = dict.fromkeys((1, 2, 3), "None")
        store.create_registered_model(self.name)
        for _ in self.stages:
            store.create_model_version(self.name, "s", artifact_digest=DIGEST)
        self.rule_changes(1)

    @property
    def generation(self):
        return len(self.moves)

    def pick(self, data):
        return data.draw(st.sampled_from(list(self.requests)))  # in the order of asking: ids are random

    @rule(approvals=st.integers(0, 2))
    def rule_changes(self, approvals):
        rules = Policy(
            self.name, 0, self.name, ("champion",), ("Production",),
            approvals=approvals, four_eyes=True, emergency=("eve",),
        )  # fmt: skip
        self.policy = self.store.save_policy(rules, actor="ops", reason="a rule").version
        self.approvals[self.policy] = approvals

    def create(self, requester, version, stage, passed, back):
        made = self.store.create_request(
            key=f"{self.name} {len(self.requests)}",
            name=self.name,
            version=version,
            alias="champion",
            stage=stage,
            requester=requester,
            artifact_digest=DIGEST,
            evidence=[GateResult("g", passed, "")],
            policy=self.name,
            policy_version=self.policy,
            kind="rollback" if back else "promotion",
            reason="because",
        )
        status = "REJECTED" if not passed else "PENDING" if self.approvals[self.policy] else "APPROVED"
        known = Asked(status, back, requester, version, stage, self.generation, self.policy)
        self.requests[made.request_id] = known

    @rule(
        version=VERSIONS,
        requester=PEOPLE,
        stage=st.sampled_from([None, "Production", "Staging"]),
        passed=st.sampled_from([True, True, True, False]),
    )
    def ask(self, version, requester, stage, passed):
        self.create(requester, version, stage, passed, back=False)

    @rule(version=VERSIONS, requester=PEOPLE)
    def ask_to_go_back(self, version, requester):
        if self.moves and self.moves[-1][1] == version and version in self.approved:
            self.create(requester, version, None, passed=True, back=True)
        else:
            with pytest.raises((PromotionError, NotFoundError)):
                self.create(requester, version, None, passed=True, back=True)

    def decided(self, request, actor, yes):
        """What the model makes of a decision; whether it is one that counts."""
        known = self.requests[request]
        if known.status != "PENDING" or actor == known.requester:
            return False
        known.said[actor] = yes
        if not yes:
            known.status = "REJECTED"
        elif sum(known.said.values()) >= self.approvals[known.policy]:
            known.status = "APPROVED"
        return True

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), actor=PEOPLE, yes=st.booleans())
    def decide(self, data, actor, yes):
        request = self.pick(data)
        decision = Decision(actor, yes, "because", 1)
        if self.requests[request].said.get(actor) == yes:
            self.store.decide(request, decision)
        elif self.decided(request, actor, yes):
            assert self.store.decide(request, decision).status == self.requests[request].status
        else:
            with pytest.raises(PromotionError):
                self.store.decide(request, decision)

    @rule()
    def time_passes(self):
        self.time.pass_(8 * 24 * 3600)
        for known in self.requests.values():
            known.status = "EXPIRED" if known.status in OPEN else known.status

    def moved(self, version, previous, changed):
        """What the model makes of a move: open requests are overtaken."""
        self.moves.append((version, previous, changed))
        for known in self.requests.values():
            known.status = "SUPERSEDED" if known.status in OPEN else known.status

    def gone_back(self):
        version, previous, _ = self.moves[-1]
        restored = {}
        for at, _, changed in reversed(self.moves):
            if at != version:
                break
            for number, (before, after) in changed.items():
                restored[number] = (restored.get(number, (after,))[0], before)
        changed = {n: pair for n, pair in restored.items() if self.stages[n] == pair[0] != pair[1]}
        self.stages |= {number: after for number, (_, after) in changed.items()}
        self.moved(previous, version, changed)

    def carried_out(self, request):
        """What the model makes of carrying a request out; whether the alias moves."""
        known = self.requests[request]
        if known.status != "APPROVED":
            return False
        if (known.policy, known.generation) != (self.policy, self.generation):
            known.status = "SUPERSEDED"
            return False
        known.status = "PROMOTED"
        if known.back:
            self.gone_back()
            return True
        before = self.moves[-1] if self.moves else (None, None)
        stages = dict(self.stages)
        if known.stage:
            others = {n: "Archived" for n, stage in stages.items() if stage == known.stage}
            stages |= others | {known.version: known.stage}
        changed = {n: (self.stages[n], stage) for n, stage in stages.items() if stage != self.stages[n]}
        self.stages = stages
        self.approved.add(known.version)
        self.moved(known.version, before[1] if before[0] == known.version else before[0], changed)
        return True

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def move(self, data):
        request = self.pick(data)
        status = self.requests[request].status
        if self.carried_out(request) or status == "PROMOTED":
            assert self.store.promote(request, artifact_digest=DIGEST, actor="ann").request_id == request
        else:
            error = PromotionError if status in ("PENDING", "REJECTED") else StaleRequestError
            with pytest.raises(error):
                self.store.promote(request, artifact_digest=DIGEST, actor="ann")

    @precondition(lambda self: self.moves)
    @rule(actor=st.sampled_from(["eve", "ann"]))
    def go_back_at_once(self, actor):
        if self.moves[-1][1] is None:
            error = PromotionError
        elif actor != "eve":
            error = ProtectedError
        else:
            said = {"actor": actor, "reason": "fire", "key": f"{self.name} {self.generation}"}
            first = self.store.rollback(self.name, "champion", **said, expected_generation=self.generation)
            self.gone_back()
            assert self.store.rollback(self.name, "champion", **said) == first
            return
        with pytest.raises(error):
            self.store.rollback(self.name, "champion", actor=actor, reason="fire")

    @rule(version=st.none() | VERSIONS)
    def other_alias(self, version):
        if version is None:
            self.store.delete_alias(self.name, "blue", actor="bob")
        else:
            self.store.set_alias(self.name, "blue", version, actor="bob")
        self.blue = version
        with pytest.raises(ProtectedError):
            self.store.set_alias(self.name, "champion", version or 1, actor="bob")

    @rule(version=VERSIONS, stage=st.sampled_from(["Staging", "None", "Production"]))
    def stage(self, version, stage):
        if "Production" in (stage, self.stages[version]):
            with pytest.raises(ProtectedError):
                self.store.transition_stage(self.name, version, Stage(stage))
        else:
            self.store.transition_stage(self.name, version, Stage(stage))
            self.stages[version] = stage

    @precondition(lambda self: self.requests and self.mortal)
    @rule(data=st.data(), actor=PEOPLE, statements=st.integers(1, 45))
    def approve_move_and_die(self, data, actor, statements):
        """A process that approves a request and carries it out is killed at a statement or commit on the way."""
        request = self.pick(data)
        self.mortal = False
        type(self).deaths += 1
        self.kill(request=request, actor=actor, statements=statements, ahead=self.time.ahead)
        found = self.store.get_request(request)
        known = self.requests[request]
        approves = next((each.approve for each in reversed(found.decisions) if each.actor == actor), False)
        if approves and known.said.get(actor) is not True:
            assert self.decided(request, actor, yes=True)
        if found.status != known.status:
            self.carried_out(request)

    @invariant()
    def every_state_is_the_models(self):
        found = {r.request_id: r.status.value for r in self.store.list_requests(name=self.name)}
        assert found == {request: known.status for request, known in self.requests.items()}
        history = self.store.alias_history(self.name, "champion")
        assert [(m.generation, m.version, m.previous_version) for m in history] == [
            (number, version, previous) for number, (version, previous, _) in enumerate(self.moves, 1)
        ]
        model = self.store.get_registered_model(self.name)
        champion = {"champion": self.moves[-1][0]} if self.moves else {}
        assert model.aliases == champion | ({"blue": self.blue} if self.blue else {})
        versions = self.store.search_model_versions(f"name = '{self.name}'").items
        assert {each.version: each.stage.value for each in versions} == self.stages

    def teardown(self):
        assert self.store.verify_audit() == self.store.audit(max_results=50_000)[-1].sequence


@contextlib.contextmanager
def killer(store_url):
    """Starts processes that die as they are told."""
    script = Path(__file__).parent / "dying.py"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(script)], **pipes) as process:

        def kill(**asked):
            print(json.dumps({"url": store_url, "digest": DIGEST, **asked}), file=process.stdin, flush=True)
            assert process.stdout.readline().strip() in ("0", "-9")

        yield kill
        process.stdin.close()


def test_any_interleaving_leaves_a_legal_state_and_a_whole_chain(store, store_url, place):
    examples, mortal = BOUNDS[place]
    Promotions.deaths = 0
    bounds = settings(
        max_examples=examples, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    with clock() as time, killer(store_url) as kill:
        run_state_machine_as_test(lambda: Promotions(store, time, kill, mortal), settings=bounds)
    if place == "sqlite":  # of a few examples, all may live
        assert Promotions.deaths > 1
