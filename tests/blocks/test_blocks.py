"""The blocks: Prefect's own suite, saving and loading on a real API, and what each gives."""

from __future__ import annotations

import importlib.metadata
import uuid

import pytest
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import ValidationError

from prefect_ml.blocks import ArtifactRoot, PromotionPolicyBlock, ServingTarget, TrackingServer
from prefect_ml.cli import policies
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.store import open_store

POLICY = "name: champions\nmodel_pattern: churn*\naliases: [champion]\ngates: [{type: loads}]\napprovals: 2\n"
URL = "postgresql+psycopg://ann:secret@db.example.org/ml"
BLOCKS = {
    ArtifactRoot: {"uri": "/data/artifacts"},
    PromotionPolicyBlock: {
        "model_pattern": "churn*",
        "aliases": ["champion"],
        "gates": [{"type": "metric_threshold", "metric": "auc", "minimum": 0.9}, {"type": "loads"}],
        "soak": {"seconds": 60},
        "on_rejection": {"tags": {"promotion": "rejected"}},
    },
    ServingTarget: {"host": "127.0.0.1", "port": 8080, "model_uri": "models:/churn@champion"},
    TrackingServer: {"store_url": URL, "artifact_root": "/data/artifacts"},
}

pytestmark = pytest.mark.usefixtures("what_prefect_leaves")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
class TestTheBlocksAreWellFormed(BlockStandardTestSuite):
    @pytest.fixture
    def block(self, request):
        return request.param

    def test_has_a_valid_image(self, block):
        """No logo rather than one that the suite would fetch from the network."""
        assert block._logo_url is None


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize(("block", "fields"), BLOCKS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_saved_block_loads_equal_by_class_and_by_slug(block, fields):
    name = f"b-{uuid.uuid4().hex}"
    saved = block(**fields)
    saved.save(name)
    assert block.load(name) == saved
    assert Block.load(f"{block._block_type_slug}/{name}") == saved


@pytest.mark.usefixtures("prefect_api")
def test_the_password_of_a_store_is_kept_masked():
    name = f"b-{uuid.uuid4().hex}"
    block = TrackingServer(store_url=URL)
    block.save(name)
    assert "secret" not in repr(block)
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name(name, TrackingServer._block_type_slug, include_secrets=False)
    assert "secret" not in str(document.data)
    assert TrackingServer.load(name).store_url.get_secret_value() == URL


def test_the_slugs_are_of_this_package():
    assert all(block._block_type_slug.startswith("prefect-ml-") for block in BLOCKS)


def test_the_blocks_are_found_by_prefect():
    [entry] = importlib.metadata.entry_points(group="prefect.collections", name="prefect_ml")
    module = entry.load()
    assert {getattr(module, name) for name in module.__all__} == set(BLOCKS)


def test_a_tracking_server_opens_its_own_store_and_else_the_processs(tmp_path, home):
    url = f"sqlite:///{tmp_path / 'team.db'}"
    store = TrackingServer(store_url=url, artifact_root=str(tmp_path / "files")).get_store()
    assert store.get_experiment("0").name == "Default"
    assert (tmp_path / "team.db").is_file()
    assert TrackingServer().get_settings().resolved_store_url == f"sqlite:///{home / 'store.db'}"
    store.close()


def test_an_artifact_root_writes_and_reads(tmp_path):
    artifacts = ArtifactRoot(uri=str(tmp_path / "root")).get_artifacts()
    artifacts.put("notes.txt", b"kept")
    assert [info.name for info in artifacts.list()] == ["notes.txt"]


def test_a_policy_block_holds_only_policies_that_can_work():
    block = PromotionPolicyBlock(definition=POLICY)
    assert block.policy.approvals == 2
    for nothing in ({"definition": "name: p"}, {"policy_name": "p"}):
        with pytest.raises(ValidationError, match="protects nothing"):
            PromotionPolicyBlock(**nothing)
    with pytest.raises(InvalidInputError, match="has no name"):
        PromotionPolicyBlock(aliases=["champion"]).policy  # noqa: B018  it raises


@pytest.mark.usefixtures("prefect_api")
def test_a_policy_block_is_put_in_force_by_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    name = f"p-{uuid.uuid4().hex}"
    PromotionPolicyBlock(aliases=["champion"], gates=[{"type": "loads"}], approvals=2).save(name)
    policies.save(block=name, actor="ops", json=True)
    saved = open_store().get_policy(name)
    assert (saved.aliases, saved.approvals, [gate["type"] for gate in saved.gates]) == (("champion",), 2, ["loads"])
    with pytest.raises(NotFoundError, match="There is no PromotionPolicyBlock 'nope'"):
        policies.save(block="nope")
    with pytest.raises(InvalidInputError, match="one of the two"):
        policies.save()


@pytest.mark.usefixtures("prefect_api")
def test_a_policy_block_of_the_first_release_is_read():
    """It held the policy as YAML in one field."""
    name = f"old-{uuid.uuid4().hex}"
    document = PromotionPolicyBlock(aliases=["other"]).save(name)
    old = BlockDocumentUpdate(data={"definition": POLICY}, merge_existing_data=False)
    with get_client(sync_client=True) as client:
        client._client.patch(f"/block_documents/{document}", json=old.model_dump(mode="json")).raise_for_status()
    loaded = PromotionPolicyBlock.load(name)
    assert (loaded.policy, loaded.policy.name) == (PromotionPolicy.from_yaml(POLICY), "champions")


@pytest.mark.parametrize(
    ("host", "url"), [("::1", "http://[::1]:5001"), ("ml.example.org", "http://ml.example.org:5001")]
)
def test_a_target_gives_its_url(host, url):
    assert ServingTarget(host=host, model_uri="models:/churn@champion").url == url


@pytest.mark.parametrize("wrong", [{"host": "a b"}, {"host": "a/../b"}, {"port": 0}, {"port": 65536}])
def test_a_target_that_can_be_no_address_is_refused(wrong):
    with pytest.raises(ValidationError):
        ServingTarget(**{"model_uri": "models:/churn@champion", **wrong})
