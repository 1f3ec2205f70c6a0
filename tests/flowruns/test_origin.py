"""A change that a flow run makes says so in the audit log, in its tasks too."""

from __future__ import annotations

import pytest
from prefect import flow, task
from prefect.runtime import flow_run

from prefect_ml import open_store
from prefect_ml.flowruns.origin import flow_run_here
from prefect_ml.store.origin import host, origin

pytestmark = pytest.mark.usefixtures("prefect_api")


@task
def change(name):
    open_store().create_registered_model(name)


@flow
def changing():
    open_store().create_registered_model("a")
    change("b")
    change.submit("c").wait()
    with origin(channel="cli"):
        change("d")
    return flow_run.id


def test_the_flow_run_is_told():
    own = changing()
    said = {"channel": "flow", "host": host(), "flow_run": own}
    assert [entry.origin for entry in open_store().audit()] == [said, said, said, said | {"channel": "cli"}]
    assert flow_run_here() == {}
