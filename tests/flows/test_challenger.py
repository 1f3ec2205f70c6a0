"""The scheduled flows about champions, in this process, on a real Prefect API: challengers, and re-validation."""

from __future__ import annotations

import hashlib
import uuid

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkPool
from sklearn.linear_model import LinearRegression

from prefect_ml.entities import Metric, Policy
from prefect_ml.errors import NotFoundError
from prefect_ml.flows.challenger import challenge_champions
from prefect_ml.flows.promote import promote_model
from prefect_ml.flows.revalidate import revalidate_champions
from prefect_ml.models.folder import save_model
from prefect_ml.registry.promotion import move, request_promotion
from prefect_ml.registry.register import register_model
from receiver import Receiver

X = np.arange(12.0).reshape(6, 2)
MODEL = LinearRegression().fit(X, X.sum(axis=1))

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("model") / "model"
    save_model(MODEL, found, input_example=X[:2])
    return str(found)


@pytest.fixture
def world(store, folder):
    """A model's name, how its policy is saved, and how a version of some accuracy is registered and promoted."""
    return World(store, folder)


class World:
    def __init__(self, store, folder):
        self.store, self.folder = store, folder
        self.name = f"m-{uuid.uuid4().hex[:6]}"

    def policy(self, gates=None, **rules):
        own = ({"type": "metric_threshold", "name": "accuracy", "metric": "accuracy", "minimum": 0.9},)
        own += ({"type": "better_than_champion", "name": "better", "metric": "accuracy"},)
        policy = Policy("p", 0, self.name, ("champion",), gates=gates or own, approvals=0, **rules)
        return self.store.save_policy(policy, actor="ops", reason="for this test")

    def register(self, accuracy):
        run = self.store.create_run("0")
        self.log(run.run_id, accuracy)
        return register_model(self.store, self.folder, self.name, run_id=run.run_id).version

    def log(self, run_id, accuracy):
        step = len(self.store.get_metric_history(run_id, "accuracy").items)
        run = self.store.get_run(run_id)
        self.store.log_batch(run_id, metrics=[Metric("accuracy", accuracy, run.start_time + step, step)])

    def decays(self, version, accuracy=0.5):
        self.log(self.store.get_model_version(self.name, version).run_id, accuracy)

    def promote(self, version):
        asked = request_promotion(self.store, self.name, version, "champion", requester="ann")
        return move(self.store, asked.request_id, actor="ann")

    def champion(self):
        return self.store.get_alias(self.name, "champion").version

    def actions(self):
        return [row.action for row in self.store.audit(subject=f"models:/{self.name}@champion")]


@pytest.fixture(scope="module")
def deployment(prefect_api):
    """The promotion's deployment, without a worker."""
    with get_client(sync_client=True) as client:
        pool: WorkPool = client.create_work_pool(WorkPoolCreate(name=f"w-{uuid.uuid4().hex[:6]}", type="process"))
        flow = client.create_flow_from_name(promote_model.name)
        name = f"d-{uuid.uuid4().hex[:6]}"
        entrypoint = "prefect_ml.flows.promote.promote_model"
        client.create_deployment(flow, name, work_pool_name=pool.name, entrypoint=entrypoint)
    return f"{promote_model.name}/{name}"


def test_a_newer_version_challenges_the_champion_once(world, deployment):
    world.policy()
    world.promote(world.register(0.91))

    def challenge(**more):
        [found] = challenge_champions(world.name, deployment=deployment, requester="nightly", **more)
        return found

    assert challenge()["why"] == "the champion is the newest"
    newest = world.register(0.95)
    found = challenge()
    assert (found["champion"], found["challenger"], found["why"]) == (1, newest, "")
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(uuid.UUID(found["flow_run_id"]))
    assert run.parameters == {"name": world.name, "version": newest, "alias": "champion", "requester": "nightly"}
    assert run.parent_task_run_id is None
    # Not started yet, so nothing was asked for; the key keeps it from being started twice.
    assert challenge()["flow_run_id"] == found["flow_run_id"]
    world.promote(newest)
    world.store.set_alias(world.name, "next", world.register(0.5))
    request_promotion(world.store, world.name, 3, "champion", requester="ann")
    assert challenge(challenger="next")["why"] == "it was judged before: REJECTED"
    assert challenge(challenger="nobody")["why"] == "there is no challenger"


def test_a_model_without_a_champion_is_left_alone(world, deployment):
    world.register(0.9)
    assert challenge_champions(world.name, deployment=deployment) == []


def test_a_champion_that_passes_stays_and_says_what_was_left_out(world):
    world.policy(on_decay="remove")
    world.promote(world.register(0.95))
    [found] = revalidate_champions(world.name)
    assert (found["passed"], found["gates"], found["left_out"]) == (True, {"accuracy": True}, ["better"])
    assert world.champion() == 1
    assert "decayed" not in world.actions()


def test_a_champion_that_decayed_goes_back_and_people_are_told(world, monkeypatch):
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    with Receiver() as receiver:
        block = CustomWebhookNotificationBlock(
            name="hook", url=receiver.url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
        )
        block.save("decays", overwrite=True)
        world.policy(on_decay="rollback", notify=("custom-webhook/decays", "secret/none"))
        world.promote(world.register(0.91))
        world.promote(world.register(0.95))
        world.decays(2)
        [found] = revalidate_champions(world.name)
        [call] = receiver.wait_for(1)
    assert (found["passed"], found["done"]) == (False, "rollback")
    assert world.champion() == 1
    assert world.actions()[-2:] == ["decayed", "rolled-back"]
    assert call.said["subject"] == f"{world.name} version 2: champion decayed"
    assert "the alias went back to the version before. accuracy" in call.said["body"]
    assert world.store.verify_audit() == len(world.store.audit())


def test_a_champion_is_judged_by_the_data_that_are_there_now(world, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_EVALUATION_FOLDERS", str(tmp_path))
    file, rows = tmp_path / "fresh.csv", [(float(n), float(n % 3)) for n in range(12)]

    def write(shift):
        lines = [f"{a},{b},{'n' if a % 2 else 's'},{a + b + shift}" for a, b in rows]
        file.write_text("\n".join(["a,b,side,y", *lines]) + "\n")
        return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"

    data = {"uri": str(file), "digest": write(0), "label": "y", "features": ["a", "b"]}
    slices = {"type": "slices", "data": data, "metric": "mae", "column": "side", "min_rows": 1, "maximum": 0.1}
    world.policy(gates=({**slices, "name": "slices"},))
    world.promote(world.register(0.95))
    [found] = revalidate_champions(world.name)
    assert (found["passed"], found["gates"]) == (True, {"slices": True})
    write(5)
    [found] = revalidate_champions(world.name)
    assert (found["passed"], found["done"]) == (False, "nothing")
    assert "slices" in found["why"]
    file.unlink()
    [found] = revalidate_champions(world.name)
    assert (found["passed"], found["done"]) == (None, "")


def test_the_alias_is_removed_and_nothing_is_done_by_default(world):
    world.policy()
    world.promote(world.register(0.95))
    world.decays(1)
    [found] = revalidate_champions(world.name)
    assert (found["done"], world.champion()) == ("nothing", 1)
    world.policy(on_decay="remove")
    [found] = revalidate_champions(world.name)
    assert found["done"] == "remove"
    with pytest.raises(NotFoundError):
        world.champion()
    assert revalidate_champions(world.name) == []
