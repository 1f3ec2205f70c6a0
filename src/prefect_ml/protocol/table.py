"""All routes of the protocol, in the order of the documentation."""

from __future__ import annotations

from prefect_ml.protocol.artifacts import listing
from prefect_ml.protocol.route import Route
from prefect_ml.protocol.routes import experiments, logged_models, metrics, models, runs, versions, webhooks

ROUTES: tuple[Route, ...] = (
    *experiments.routes.all,
    *runs.routes.all,
    *metrics.routes.all,
    *logged_models.routes.all,
    *listing.routes.all,
    *models.routes.all,
    *versions.routes.all,
    *webhooks.routes.all,
)
