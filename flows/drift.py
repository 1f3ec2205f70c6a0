"""The scheduled flow that compares what served models were asked and answered of late with what was usual."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client

import prefect_ml as ml
from prefect_ml.artifacts.contract import ArtifactStore
from prefect_ml.artifacts.open import open_artifacts
from prefect_ml.blocks.server import named_store
from prefect_ml.drift.compare import Bounds, Drift, compare
from prefect_ml.drift.reference import kept_reference, read_table, read_window
from prefect_ml.entities import ModelVersion
from prefect_ml.errors import ArtifactError, InvalidInputError, NotFoundError
from prefect_ml.flowruns.events import drift_event
from prefect_ml.flows.challenger import names_of, version_at
from prefect_ml.settings import Settings
from prefect_ml.store.contract import Store
from prefect_ml.tracking.run import ActiveRun

# On a version whose drift was told: when. It goes away when the version is like its reference again.
DRIFT_TAG = "prefect_ml.drift"
_KEPT, _EARLIER = "training", "earlier"
_NO_METRIC = re.compile(r"[^A-Za-z0-9_\-. /:]")


@ml.track(experiment="{experiment}")
@flow(name="detect-drift", flow_run_name="drift of @{alias} of {models}")
def detect_drift(
    models: str = "*",
    alias: str = "champion",
    *,
    hours: float = 24.0,
    reference: str = "training",
    log: str | None = None,
    psi: float = 0.25,
    ks: float = 0.2,
    p_value: float = 0.01,
    rows: int = 200,
    experiment: str = "drift",  # noqa: ARG001 - read by @track
    tracking_server: str | None = None,
) -> list[dict[str, Any]]:
    """Compare the last hours of the inference log with a reference, column by column, and tell of drift by an event.

    A column has drifted when its population stability index is above `psi`, or its Kolmogorov-Smirnov statistic above
    `ks` with a p-value below `p_value` over the number of columns. The event `prefect-ml.drift.detected` is emitted
    once when a version begins to drift, and again only after it has been like its reference in between.

    Args:
        models: A pattern over names of registered models, with `*` and `?`.
        alias: The alias of the versions that are watched.
        hours: Length of the window, which ends now.
        reference: "training" for the sample that the training run kept, "earlier" for the window before this one, or a
            path or URL of Parquet files.
        log: Folder or URL of the inference log; the setting `inference_log` when empty.
        psi: Bound of the population stability index.
        ks: Bound of the Kolmogorov-Smirnov statistic.
        p_value: Bound of its p-value, before it is corrected for the number of columns.
        rows: Fewer rows in the window or the reference say nothing.
        experiment: Name of the experiment of the run.
        tracking_server: A TrackingServer block by name; the settings of the process when empty.

    Returns:
        For each model with the alias: `name`, `version`, `drifted` (None when nothing was compared), `columns` (those
        that drifted), `told` (whether the event was emitted) and `why` nothing was compared.

    Raises:
        InvalidInputError: there is no inference log, or a bound that nobody can mean.
    """
    if hours <= 0 or rows < 1:
        raise InvalidInputError("A window has some hours and some rows.")
    place = log or Settings().inference_log
    if not place:
        raise InvalidInputError("There is no inference log: set PREFECT_ML_INFERENCE_LOG, or give `log`.")
    store, files, run = named_store(tracking_server), open_artifacts(place), ml.current_run()
    bounds = Bounds(psi, ks, p_value, rows)
    now = dt.datetime.now(dt.UTC)
    window = now - dt.timedelta(hours=hours), now
    found = []
    for name in names_of(store, models):
        version = version_at(store, name, alias)
        if version is not None:
            found.append(_watched(store, files, version, alias, window, reference, bounds, run))
    drifted = sum(each["drifted"] is True for each in found)
    run.log_metrics({"models": len(found), "drifted": drifted})
    get_run_logger().info("%d models are watched, %d have drifted.", len(found), drifted)
    return found


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[1, 5, 15], task_run_name="drift of {version.name}")
def tell_drift(store: Store, version: ModelVersion, alias: str, key: str, facts: Mapping[str, Any]) -> None:
    """Emit the event of a drift, and remember that it was."""
    event = drift_event(store, version, alias, key, facts)
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()
    store.set_model_version_tag(version.name, version.version, DRIFT_TAG, event.occurred.isoformat())


def _watched(  # noqa: PLR0917 - one step of the flow, with all that it knows
    store: Store,
    files: ArtifactStore,
    version: ModelVersion,
    alias: str,
    window: tuple[dt.datetime, dt.datetime],
    reference: str,
    bounds: Bounds,
    run: ActiveRun,
) -> dict[str, Any]:
    told: dict[str, Any] = {"name": version.name, "version": version.version, "drifted": None, "columns": []}
    told |= {"told": False, "why": ""}
    try:
        usual = _reference(store, files, version, window, reference)
        late = read_window(files, version.name, version.version, *window)
    except (NotFoundError, ArtifactError) as error:
        get_run_logger().warning("Version %d of %s is not compared: %s", version.version, version.name, error)
        return told | {"why": str(error)}
    drift = compare(usual, late, bounds)
    _publish(version, drift, run)
    if drift.too_few:
        return told | {"why": drift.too_few}
    told |= {"drifted": bool(drift.drifted), "columns": [column.name for column in drift.drifted]}
    known = DRIFT_TAG in version.tags
    if drift.drifted and not known:
        facts = {
            "columns": {column.name: column.why for column in drift.drifted},
            "reference": reference,
            "rows": drift.window_rows,
            "start": window[0].isoformat(),
            "end": window[1].isoformat(),
            "drift_run_id": run.run_id,
        }
        tell_drift(store, version, alias, run.run_id, facts)
        told["told"] = True
    elif known and not drift.drifted:
        store.delete_model_version_tag(version.name, version.version, DRIFT_TAG)
    return told


def _reference(
    store: Store,
    files: ArtifactStore,
    version: ModelVersion,
    window: tuple[dt.datetime, dt.datetime],
    reference: str,
) -> Any:
    start, end = window
    if reference == _KEPT:
        return kept_reference(store, version.name, version.version)
    if reference == _EARLIER:
        return read_window(files, version.name, version.version, start - (end - start), start)
    return read_table(reference)


def _publish(version: ModelVersion, drift: Drift, run: ActiveRun) -> None:
    """The table on the flow run's page, and the metrics of its run."""
    metrics: dict[str, float] = {"reference_rows": drift.reference_rows, "rows": drift.window_rows}
    for column in drift.columns:
        measured = {"psi": column.psi, "ks": column.ks}
        metrics |= {f"{kind}/{column.name}": value for kind, value in measured.items() if value is not None}
    if not drift.too_few:
        metrics["drifted_columns"] = len(drift.drifted)
    run.log_metrics({_NO_METRIC.sub("_", f"{version.name}/{key}"): value for key, value in metrics.items()})
    table = [
        {
            "column": column.name,
            "psi": column.psi,
            "ks": column.ks,
            "p_value": column.p_value,
            "drifted": column.drifted,
            "why": column.why,
        }
        for column in drift.columns
    ]
    slug = re.sub(r"[^a-z0-9]+", "-", version.name.lower()).strip("-") or "model"
    about = f"{version.name}, version {version.version}: {drift.window_rows} rows against {drift.reference_rows}"
    create_table_artifact(table, key=f"drift-{slug}", description=drift.too_few or about)
