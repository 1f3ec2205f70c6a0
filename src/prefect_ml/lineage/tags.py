"""The tags of runs that lineage is read from; those that MLflow's clients write as well have its names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.lineage.facts import Code
from prefect_ml.tracking.capture.findings import NOTEBOOK_DIGEST, PATCH_DIGEST
from prefect_ml.tracking.capture.findings import PACKAGES_DIGEST as ENVIRONMENT
from prefect_ml.tracking.capture.git import BRANCH, COMMIT, DIRTY, REPOSITORY
from prefect_ml.tracking.start import PARENT_TAG as PARENT

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "COMMIT",
    "DATA_CONTEXT",
    "DEPLOYMENT",
    "ENVIRONMENT",
    "FLOW_NAME",
    "FLOW_RUN",
    "PARENT",
    "code",
]

FLOW_NAME = "prefect_ml.flow_name"
FLOW_RUN = "prefect_ml.flow_run_id"
DEPLOYMENT = "prefect_ml.deployment_id"
DATA_CONTEXT = "mlflow.data.context"
_ENTRY_POINT = "prefect_ml.entry_point"
_SOURCE_NAME = "mlflow.source.name"


def code(tags: Mapping[str, str]) -> Code:
    """What the tags of a run say of its code."""
    dirty = tags.get(DIRTY)
    return Code(
        repository=tags.get(REPOSITORY, ""),
        branch=tags.get(BRANCH, ""),
        commit=tags.get(COMMIT, ""),
        dirty=None if dirty is None else dirty == "true",
        diff_digest=tags.get(PATCH_DIGEST, ""),
        notebook_digest=tags.get(NOTEBOOK_DIGEST, ""),
        entry_point=tags.get(_ENTRY_POINT) or tags.get(_SOURCE_NAME, ""),
    )
