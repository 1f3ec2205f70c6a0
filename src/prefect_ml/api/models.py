"""Models: keeping, loading and registering them, and where they come from."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from prefect_ml.api.here import fresh_store, registry
from prefect_ml.api.runs import current_run
from prefect_ml.entities import ModelVersion
from prefect_ml.errors import NoActiveRunError
from prefect_ml.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.lineage.facts import Lineage
    from prefect_ml.models.folder import LoadedModel
    from prefect_ml.models.signature import Signature
    from prefect_ml.tracking.models import LoggedModel


def log_model(
    model: Any,
    name: str = "model",
    *,
    input_example: Any = None,
    register: str | None = None,
    signature: Signature | None = None,
    flavor: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    allow_pickle: bool = False,
    serialization_format: str | None = None,
) -> LoggedModel:
    """Keep a model with the current run, and register it when asked; see `ActiveRun.log_model`."""
    return current_run().log_model(
        model,
        name,
        input_example=input_example,
        register=register,
        signature=signature,
        flavor=flavor,
        metadata=metadata,
        allow_pickle=allow_pickle,
        serialization_format=serialization_format,
    )


def load_model(uri: str) -> LoadedModel:
    """Load a model, verified against its recorded digest.

    Args:
        uri: `models:/<name>@<alias>`, `models:/<name>/<version>`, `runs:/<run id>/<name>` or a folder.

    Inside of a run it is recorded as an ancestor of the models that the run makes.

    Raises:
        NotFoundError: there is no such model.
        UntrustedModelError: it would unpickle, and its origin is not trusted.
    """
    from prefect_ml.registry import resolve  # noqa: PLC0415 - only those who use it pay for its import
    from prefect_ml.tracking.model_inputs import note_model  # noqa: PLC0415 - only those who use it pay for its import

    resolved = resolve.resolve(fresh_store(), uri)
    model = resolve.load_resolved(resolved, Settings())
    with contextlib.suppress(NoActiveRunError):
        note_model(current_run(), resolved)
    return model


def register_model(
    uri: str,
    name: str,
    *,
    run_id: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """Add the model at a URI or folder as the next version of `name`, created when it does not exist."""
    version: ModelVersion = registry().register_model(
        fresh_store(), uri, name, run_id=run_id, description=description, tags=tags
    )
    return version


def get_lineage(uri: str) -> Lineage:
    """What produced a model and what became of it; see `prefect_ml.lineage.read.get_lineage`.

    Args:
        uri: as in `load_model`.
    """
    from prefect_ml.lineage import read  # noqa: PLC0415 - only those who use it pay for its import

    return read.get_lineage(fresh_store(), uri)
