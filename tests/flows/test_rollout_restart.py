"""A dead rollout is executed again, unless it would begin on what somebody put at the endpoint since."""

from __future__ import annotations

import contextlib

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Crashed

from prefect_ml.entities import Route
from prefect_ml.flowruns.restart import restart_dead
from prefect_ml.flows.canary import canary
from prefect_ml.store import open_store


@pytest.fixture
def store(home):
    with contextlib.closing(open_store()) as opened:
        opened.create_registered_model("restarted")
        for _ in range(3):
            opened.create_model_version("restarted", "/models/restarted")
        opened.create_endpoint("again", [to(1)])
        yield opened


def to(version, weight=100.0):
    return Route("restarted", version, weight=weight)


def test_a_dead_rollout_begins_only_where_nobody_changed_the_endpoint_since(store, prefect_api):
    def restarted():
        return set(restart_dead(store, client, ("canary",)))

    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(canary), "restarted", work_pool_name=None)

        def died():
            given = {"endpoint": "again", "model_uri": "models:/restarted/2"}
            run = client.create_flow_run_from_deployment(deployment, parameters=given)
            client.set_flow_run_state(run.id, Crashed(), force=True)
            return str(run.id)

        runs = [died()]
        assert restarted() == {runs[0]}
        late, begun = died(), died()
        store.change_endpoint("again", [to(1), to(2, 0.0)], expected_revision=1, rollout=f"flow-run-{begun}")
        store.change_endpoint("again", [to(3)], expected_revision=2, actor="zoe", reason="by hand")
        # the one that had begun ends as superseded
        assert restarted() == {begun}
        for run in (*runs, late, begun):
            client.delete_flow_run(run)
