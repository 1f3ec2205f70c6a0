"""What MLflow's client may not do to a protected alias or stage: each call is refused with the way to ask for it."""

from __future__ import annotations

import contextlib
import shlex
import uuid
from typing import NamedTuple

import pytest

from prefect_ml.entities import Policy
from prefect_ml.store import open_store

pytestmark = pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning", "ignore:.*deprecated.*:FutureWarning")

SOURCE = "s3://models/churn"
ALIAS = "--alias champion"
STAGE = "--alias champion --stage Production"


class Guarded(NamedTuple):
    """A model whose version 1 is @champion and in Production, both protected; @trial on it and version 2 are not."""

    name: str
    other: str
    store: object

    def state(self, client):
        """All that could have changed, to the millisecond."""
        return [
            (client.get_registered_model(name), client.search_model_versions(f"name = '{name}'"))
            for name in (self.name, self.other)
        ], self.store.verify_audit()


@pytest.fixture(scope="module")
def guarded(server, client):
    name = f"guarded {uuid.uuid4().hex}"
    other = f"another {uuid.uuid4().hex}"
    with contextlib.closing(open_store(server.url)) as store:
        for each in (name, other):
            client.create_registered_model(each)
            client.create_model_version(each, SOURCE)
            client.set_registered_model_alias(each, "champion", "1")
        client.create_model_version(name, SOURCE)
        client.set_registered_model_alias(name, "trial", "1")
        client.transition_model_version_stage(name, "1", "Production")
        policy = Policy(f"of {name}", 0, model_pattern=f"{name}*", aliases=("champion",), stages=("Production",))
        store.save_policy(policy, actor="ops")
        yield Guarded(name, other, store)


@pytest.mark.parametrize(
    ("call", "way"),
    [
        pytest.param(
            lambda c, m: c.set_registered_model_alias(m.name, "champion", "2"), f"2 {ALIAS}", id="alias moved"
        ),
        pytest.param(
            lambda c, m: c.delete_registered_model_alias(m.name, "champion"), f"VERSION {ALIAS}", id="alias deleted"
        ),
        pytest.param(
            lambda c, m: c.transition_model_version_stage(m.name, "2", "Production"), f"2 {STAGE}", id="stage entered"
        ),
        pytest.param(
            lambda c, m: c.transition_model_version_stage(m.name, "2", "Production", archive_existing_versions=True),
            f"2 {STAGE}",
            id="stage entered and the others archived",
        ),
        pytest.param(
            lambda c, m: c.transition_model_version_stage(m.name, "1", "Archived"), f"1 {STAGE}", id="stage left"
        ),
        pytest.param(lambda c, m: c.delete_model_version(m.name, "1"), f"VERSION {ALIAS}", id="version deleted"),
        pytest.param(lambda c, m: c.delete_registered_model(m.name), f"VERSION {ALIAS}", id="model deleted"),
        pytest.param(
            lambda c, m: c.rename_registered_model(m.name, m.name + " b"), f"VERSION {ALIAS}", id="model renamed"
        ),
        pytest.param(
            lambda c, m: c.rename_registered_model(m.name, "outside"),
            f"VERSION {ALIAS}",
            id="renamed out of the policy",
        ),
        pytest.param(
            lambda c, m: c.rename_registered_model(m.other, m.name + " c"), f"VERSION {ALIAS}", id="renamed into it"
        ),
    ],
)
def test_a_protected_one_stays_and_the_refusal_names_the_way_to_ask(mlflow, client, guarded, call, way):
    before = guarded.state(client)
    with pytest.raises(mlflow.exceptions.RestException) as refused:
        call(client, guarded)
    assert refused.value.error_code == "PERMISSION_DENIED"
    assert refused.value.get_http_status_code() == 403
    assert "is protected by policy" in refused.value.message
    command = shlex.split(refused.value.message.partition("Request a promotion: ")[2])
    assert command[:2] == ["prefect-ml", "promote"]
    assert command[2] in (guarded.name, guarded.name + " b", guarded.name + " c")
    assert command[3:] == shlex.split(way)
    assert guarded.state(client) == before


def test_what_is_not_protected_changes_as_ever(client, guarded):
    client.set_registered_model_alias(guarded.name, "trial", "2")
    client.transition_model_version_stage(guarded.name, "2", "Staging")
    client.delete_registered_model_alias(guarded.name, "trial")
    client.set_model_version_tag(guarded.name, "1", "seen", "yes")
    client.delete_model_version(guarded.name, "2")
    found = client.get_registered_model(guarded.name)
    assert (found.aliases, [each.version for each in found.latest_versions]) == ({"champion": "1"}, ["1"])
