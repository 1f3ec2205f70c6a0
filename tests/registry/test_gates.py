"""Gates on real models: what runs a model runs apart, what cannot be told is no verdict, and trust can be withheld."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from sklearn.linear_model import LinearRegression

from prefect_ml.entities import Metric
from prefect_ml.errors import InvalidInputError, StoreUnavailableError
from prefect_ml.models.folder import save_model
from prefect_ml.models.outputs import difference, plain_outputs, read_outputs
from prefect_ml.models.replay import REPLAY
from prefect_ml.registry.flow_gate import FlowGate
from prefect_ml.registry.gate import Candidate, Subject
from prefect_ml.registry.gates import evaluate_gate, parse_gate
from prefect_ml.registry.metric_gates import BetterThanChampion, MetricThreshold
from prefect_ml.registry.model_gates import Budget, Loads, SignaturePresent
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.registry.register import register_model
from prefect_ml.registry.scan_gate import PickleScan
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

X = np.arange(12.0).reshape(6, 2)
TRUSTED = Settings(trusted_origins=("models:/m/*",))


class Calm:
    """Behaves in the process that saves it, and nowhere else."""

    def __init__(self, badly, *arguments):
        self.badly, self.arguments, self.home = badly, arguments, os.getpid()

    def predict(self, data):
        return data if os.getpid() == self.home else self.badly(*self.arguments)


def sleeps():
    time.sleep(600)


def crashes():
    os.kill(os.getpid(), signal.SIGSEGV)


def is_killed():
    """As the kernel does when memory runs out; no machine is filled for it."""
    os.kill(os.getpid(), signal.SIGKILL)


def exits():
    sys.exit(0)


def tells_itself_and_sleeps(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def peeps():
    raise RuntimeError(f"{sorted(os.environ)} {Path.cwd()}")


def leaves_a_child():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    raise RuntimeError(f"left {child.pid}")


def ends(pid):
    """Whether a process of another parent is gone soon; one that nobody reaps is gone, too."""
    for _ in range(200):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)
                continue
        return True
    return False


@pytest.fixture
def store(tmp_path):
    found = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield found
    found.close()


@pytest.fixture
def candidate(store, tmp_path):
    """A version of a model, as one that asks for an alias."""

    def registered(model, settings=TRUSTED, **saved):
        folder = tmp_path / f"model-{time.time_ns()}"
        save_model(model, folder, **{"input_example": X[:2], **saved})
        version = register_model(store, str(folder), "m")
        return Candidate.of(store, "m", version.version, "champion", settings)

    return registered


def test_the_models_gates_leave_their_evidence(candidate):
    found = candidate(LinearRegression().fit(X, X[:, 0]))
    loads = evaluate_gate(Loads(trust=False), found)
    assert loads.passed, loads.summary
    assert loads.evidence["example_replayed"]
    assert loads.evidence["artifact_digest"] == found.subject.version.artifact_digest
    budget = evaluate_gate(Budget(max_megabytes=5, max_latency_ms=10_000, repeats=2), found)
    assert budget.passed, budget.summary
    assert budget.evidence["latency_ms"] > 0
    assert evaluate_gate(PickleScan(), found).summary.startswith("none of the")


@pytest.mark.parametrize(
    ("badly", "words"),
    [
        (crashes, "crashed the process that ran it (SIGSEGV)"),
        (is_killed, "killed (SIGKILL), most likely because memory ran out"),
        (exits, "SystemExit"),
    ],
)
def test_a_model_that_ends_its_process_fails_its_gate_and_no_more(candidate, badly, words):
    result = evaluate_gate(Loads(), candidate(Calm(badly)))
    assert not result.passed
    assert words in result.summary
    assert words in result.evidence["error"]


def test_a_model_that_never_answers_is_stopped_when_the_time_is_up(candidate):
    found = candidate(Calm(sleeps))
    started = time.monotonic()
    result = evaluate_gate(Loads(timeout=2.0), found)
    assert not result.passed
    assert "longer than 2 seconds" in result.summary
    assert time.monotonic() - started < 20


def test_a_model_sees_neither_credentials_nor_the_stores_address(candidate, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_STORE_URL", "sqlite:///secret.db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    summary = evaluate_gate(Loads(), candidate(Calm(peeps))).summary
    assert "PATH" in summary
    assert "PREFECT" not in summary
    assert "AWS" not in summary
    assert str(Path.cwd()) not in summary


def test_what_a_model_started_ends_with_the_process_that_judged_it(candidate):
    from prefect_ml.models import apart

    summary = evaluate_gate(Loads(), candidate(Calm(leaves_a_child))).summary
    child = int(summary.rsplit(" ", 1)[1])
    apart._close_idle()
    assert ends(child)


def test_a_process_that_judges_ends_with_the_one_that_asked_for_it(tmp_path):
    told = tmp_path / "pid"
    folder = tmp_path / "model"
    save_model(Calm(tells_itself_and_sleeps, str(told)), folder, input_example=X[:2])
    request = {"kind": REPLAY, "folder": str(folder), "origin": "x", "trusted": ["x"]}
    script = (
        "import json, sys; from prefect_ml.models.apart import run_apart; "
        "run_apart(json.loads(sys.argv[1]), [], 600, 600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, json.dumps(request)]) as asking:
        while not (told.exists() and told.read_text()) and asking.poll() is None:
            time.sleep(0.05)
        judging = int(told.read_text())
        asking.kill()
    assert ends(judging)


def test_trust_of_the_operator_can_be_withheld(candidate):
    found = candidate(lambda data: data)
    assert evaluate_gate(Loads(), found).passed
    for gate in (Loads(trust=False), Budget(max_latency_ms=1000, trust=False)):
        result = evaluate_gate(gate, found)
        assert not result.passed
        assert "UntrustedModelError" in result.summary
    assert not evaluate_gate(Loads(), candidate(lambda data: data, Settings())).passed


def test_a_pickled_model_is_scanned_and_passes_only_with_what_is_allowed(candidate):
    found = candidate(LinearRegression().fit(X, X[:, 0]), flavor="python", allow_pickle=True)
    result = evaluate_gate(PickleScan(), found)
    assert not result.passed
    assert "sklearn.linear_model._base.LinearRegression in model.pkl" in result.evidence["dangerous"]
    assert evaluate_gate(PickleScan(allow=("sklearn.linear_model",)), found).passed
    assert evaluate_gate(PickleScan(allow=("sklearn.linear_model._base:LinearRegression",)), found).passed
    assert not evaluate_gate(PickleScan(allow=("sklearn.linear_model:LinearRegression",)), found).passed
    with pytest.raises(InvalidInputError, match="allow"):
        parse_gate({"type": "pickle_scan", "allow": ["os.*"]})


def test_metric_gates_record_the_point_that_they_judged(store, tmp_path):
    model = LinearRegression().fit(X, X[:, 0])
    save_model(model, tmp_path / "model", input_example=X[:2])
    for value in (0.8, 0.9):
        run = store.create_run("0")
        store.log_batch(run.run_id, metrics=[Metric("auc", 0.1, 5, 0), Metric("auc", value, 7, 3)])
        register_model(store, str(tmp_path / "model"), "m", run_id=run.run_id)
    store.set_alias("m", "champion", 1)
    found = Candidate.of(store, "m", 2, "champion")
    point = {"run_id": found.subject.version.run_id, "step": 3, "timestamp": 7, "value": 0.9}
    assert evaluate_gate(MetricThreshold(metric="auc", minimum=0.5), found).evidence["point"] == point
    result = evaluate_gate(BetterThanChampion(metric="auc"), found)
    assert result.passed
    assert result.evidence["point"] == point
    assert result.evidence["champion_point"]["value"] == 0.8
    missing = evaluate_gate(MetricThreshold(metric="loss", minimum=0.5), found)
    assert (missing.passed, missing.evidence["point"]) == (False, None)


def test_a_store_that_is_away_is_no_verdict(candidate):
    found = candidate(LinearRegression().fit(X, X[:, 0]))

    away = open_store("http://127.0.0.1:9")
    version = dataclasses.replace(found.subject.version, run_id="0" * 32)
    subject = Subject(away, version, TRUSTED)
    with pytest.raises(StoreUnavailableError):
        evaluate_gate(MetricThreshold(metric="auc", minimum=0), Candidate("champion", subject, None, 0))
    away.close()


def test_a_gate_that_took_too_long_has_failed_though_it_passed(candidate):
    result = evaluate_gate(SignaturePresent(timeout=1e-9), candidate(LinearRegression().fit(X, X[:, 0])))
    assert not result.passed
    assert "its timeout is" in result.summary


def test_a_flow_gate_is_no_gate_outside_of_its_flow(candidate):
    result = evaluate_gate(FlowGate(deployment="check/default"), candidate(LinearRegression().fit(X, X[:, 0])))
    assert not result.passed
    assert "only the flow promote-model runs it" in result.summary


def test_specifications_are_written_so_that_an_older_release_reads_them():
    for specification in ({"type": "loads"}, {"type": "pickle_scan"}, {"type": "signature_present"}):
        assert not {"timeout", "trust"} & parse_gate(specification).model_dump(mode="json").keys()
    kept = parse_gate({"type": "loads", "timeout": 5, "trust": False}).model_dump(mode="json")
    assert (kept["timeout"], kept["trust"]) == (5.0, False)
    assert parse_gate(kept) == Loads(timeout=5.0, trust=False)


def test_the_gates_of_the_documentation_are_a_policy():
    text = (Path(__file__).parents[2] / "docs" / "gates.md").read_text()
    gates = text.split("```yaml\n")[1].split("```")[0]
    policy = PromotionPolicy.from_yaml(f"name: churn\naliases: [champion]\n{gates}")
    assert len({gate.type for gate in policy.gates}) == 11
    assert PromotionPolicy.from_yaml(policy.to_yaml()) == policy
    assert PromotionPolicy.from_entity(policy.to_entity()) == policy
    assert all(f"`{gate.type}`" in text for gate in policy.gates)


@pytest.mark.parametrize(
    "specification",
    [
        {"type": "loads", "timeout": 0},
        {"type": "loads", "timeout": 1e9},
        {"type": "flow", "deployment": "no-slash"},
        {"type": "flow", "deployment": "a/b", "parameters": {"version": 1}},
        {"type": "clean_room", "tolerance": -1},
    ],
)
def test_specifications_that_nothing_can_follow_are_refused(specification):
    with pytest.raises(InvalidInputError):
        parse_gate(specification)


def test_what_a_model_predicted_is_kept_and_compared(tmp_path):
    save_model(LinearRegression().fit(X, X[:, 0]), tmp_path / "model", input_example=X[:2])
    kept = read_outputs(tmp_path / "model")
    assert kept == pytest.approx([0.0, 2.0])
    assert difference(kept, plain_outputs(np.array(kept) + 1e-9), 1e-6) is None
    assert "[1]" in difference(kept, [kept[0], 2.1], 1e-6)
    assert difference(["a", 1], ["a", 2], 1.0) == "the output[1] is 2 instead of 1"
    assert difference([1.0], [1.0, 2.0], 1.0)
    assert difference({"a": 1.0}, {"b": 1.0}, 1.0)
    assert difference([True], [1], 1.0)
    assert difference([1.0], ["nan"], 1.0)
    assert plain_outputs({"x": np.array([np.nan, 1])}) == {"x": ["nan", 1.0]}
