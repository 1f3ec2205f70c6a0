"""`SqlStore`: every noun of the store over one database."""

from __future__ import annotations

from prefect_ml.store.aliases import AliasRows
from prefect_ml.store.attempts import AttemptRows
from prefect_ml.store.audit import AuditRows
from prefect_ml.store.dataset_search import DatasetRows
from prefect_ml.store.decay import DecayRows
from prefect_ml.store.endpoint_replicas import EndpointReplicaRows
from prefect_ml.store.endpoints import EndpointRows
from prefect_ml.store.evidence import EvidenceRows
from prefect_ml.store.experiments import ExperimentRows
from prefect_ml.store.foreign_evidence import ForeignEvidenceRows
from prefect_ml.store.inputs import InputRows
from prefect_ml.store.journal import JournalRows
from prefect_ml.store.logged_model_search import LoggedModelSearchRows
from prefect_ml.store.logged_models import LoggedModelRows
from prefect_ml.store.metrics import MetricRows
from prefect_ml.store.model_versions import ModelVersionRows
from prefect_ml.store.moving import MovingRows
from prefect_ml.store.moving_load import MovingLoadRows
from prefect_ml.store.moving_models import MovingModelRows
from prefect_ml.store.once import OnceRows
from prefect_ml.store.outputs import OutputRows
from prefect_ml.store.policies import PolicyRows
from prefect_ml.store.promotion_closing import PromotionClosingRows
from prefect_ml.store.promotion_moves import PromotionMoveRows
from prefect_ml.store.promotions import PromotionRows
from prefect_ml.store.registered_models import RegisteredModelRows
from prefect_ml.store.registry_search import RegistrySearchRows
from prefect_ml.store.retention import RetentionRows
from prefect_ml.store.rollbacks import RollbackRows
from prefect_ml.store.runs import RunRows
from prefect_ml.store.sampled_histories import SampledHistoryRows
from prefect_ml.store.search import SearchRows
from prefect_ml.store.stages import StageRows
from prefect_ml.store.steps import StepRows
from prefect_ml.store.told import ToldRows
from prefect_ml.store.webhook_deliveries import WebhookDeliveryRows
from prefect_ml.store.webhooks import WebhookRows


class SqlStore(
    ExperimentRows,
    RunRows,
    MetricRows,
    SampledHistoryRows,
    InputRows,
    OutputRows,
    DatasetRows,
    JournalRows,
    AttemptRows,
    StepRows,
    SearchRows,
    LoggedModelRows,
    LoggedModelSearchRows,
    RegisteredModelRows,
    ModelVersionRows,
    StageRows,
    AliasRows,
    RegistrySearchRows,
    PolicyRows,
    EvidenceRows,
    PromotionRows,
    PromotionMoveRows,
    RollbackRows,
    PromotionClosingRows,
    DecayRows,
    EndpointRows,
    EndpointReplicaRows,
    AuditRows,
    ToldRows,
    OnceRows,
    WebhookRows,
    WebhookDeliveryRows,
    MovingLoadRows,
    MovingRows,
    MovingModelRows,
    ForeignEvidenceRows,
    RetentionRows,
):
    """The store in a SQLite file or PostgreSQL database.

    A noun is a mixin derived from `Rows` in a file of its own (`class AliasRows(Rows)` in `aliases.py`). It
    works on `self.database` and calls no other noun's methods: what nouns share are functions of a connection.
    """

    def __repr__(self) -> str:
        return f"SqlStore({self.url!r})"

    @property
    def url(self) -> str:
        return self.database.url

    @property
    def closed(self) -> bool:
        """Whether `close` was called; a closed one still works and opens connections anew."""
        return self.database.closed

    def close(self) -> None:
        self.database.close()
