"""Prefect blocks: where the store is, where artifacts are, what protects an alias, where a model is served.

Register them on a server with `prefect block register -m prefect_ml.blocks`.
"""

from prefect_ml.blocks.artifacts import ArtifactRoot
from prefect_ml.blocks.policy import PromotionPolicyBlock
from prefect_ml.blocks.server import TrackingServer
from prefect_ml.blocks.target import ServingTarget

__all__ = ["ArtifactRoot", "PromotionPolicyBlock", "ServingTarget", "TrackingServer"]
