"""What tests of promotions do to a store: a model with a policy, requests, decisions, moves."""

from __future__ import annotations

import contextlib
import time

import pytest

from prefect_ml.entities import Decision, GateResult, Policy
from prefect_ml.store import rows

DIGEST = "sha256:ab"
GATES = ({"name": "auc", "kind": "metric_threshold"}, {"name": "loads", "kind": "loads"})
PASSED = [
    GateResult("auc", True, "0.9", {"auc": 0.9, "worst": float("nan"), 5: (1, 2)}),
    GateResult("loads", True, "yes"),
]


def churn(store):
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


def go_back(store, actor="eve", **changes):
    return store.rollback("churn", "champion", **({"actor": actor, "reason": "it drifts"} | changes))


def actions(store):
    return [entry.action for entry in store.audit()]


class Clock:
    """The store's clock, which can be put forward."""

    def __init__(self):
        self.ahead = 0.0

    def time_ns(self):
        return time.time_ns() + round(self.ahead * 1e9)

    def pass_(self, seconds):
        self.ahead += seconds


@contextlib.contextmanager
def clock():
    """A clock that all stores of this process, also those of its servers, go by."""
    with pytest.MonkeyPatch.context() as patch:
        own = Clock()
        patch.setattr(rows, "time", own)
        yield own
