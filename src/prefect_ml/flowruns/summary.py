"""A run's summary in Prefect's UI: one markdown artifact a run, sent while Prefect reports the end of the flow run."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import FlowRunContext

from prefect_ml.errors import StoreUnavailableError
from prefect_ml.flowruns.harmless import harmless
from prefect_ml.settings import Settings
from prefect_ml.tracking import summary
from prefect_ml.tracking.run import ActiveRun

_SECONDS = 10.0
_NOT_IN_KEYS = re.compile(r"[^a-z0-9]+")
_begun: dict[str, threading.Thread] = {}


def summarize_soon(run: ActiveRun, context: FlowRunContext) -> None:
    """Make the summary in the background, by the client that the flow run has open already."""
    thread = threading.Thread(target=summarize, args=(run, context), daemon=True)
    thread.start()
    _begun[run.run_id] = thread


def finish_summary(run: ActiveRun) -> None:
    """Wait for the summary that was begun, or make one."""
    begun = _begun.pop(run.run_id, None)
    begun.join(_SECONDS) if begun else summarize(run, None)


def summarize(run: ActiveRun, context: FlowRunContext | None) -> None:
    if Settings().offline:
        return
    with harmless("The run's summary is not in Prefect's UI"):
        try:
            _send(_artifact(run), context)
        except httpx.HTTPError as error:
            raise StoreUnavailableError(f"Its API cannot be reached: {error}") from error


def artifact_key(text: str) -> str:
    """Text as a key of Prefect's artifacts, which are made of a-z, 0-9 and dashes."""
    return _NOT_IN_KEYS.sub("-", text.lower()).strip("-")


def _artifact(run: ActiveRun) -> dict[str, Any]:
    entity = run.get()
    experiment = run.outlet.store.get_experiment(entity.experiment_id).name
    return {
        "key": f"{artifact_key(experiment) or 'tracked'}-run",
        "type": "markdown",
        "description": "What prefect-ml recorded of this run.",
        "data": summary.markdown(entity, experiment),
        "flow_run_id": entity.tags["prefect_ml.flow_run_id"],
    }


def _send(artifact: dict[str, Any], context: FlowRunContext | None) -> None:
    if context is None:
        with get_client(sync_client=True) as client:
            client.request("POST", "/artifacts/", json=artifact)
    elif isinstance(context.client, SyncPrefectClient):
        context.client.request("POST", "/artifacts/", json=artifact)
    elif context.client.loop is not None:
        request = context.client.request("POST", "/artifacts/", json=artifact)
        asyncio.run_coroutine_threadsafe(request, context.client.loop).result(_SECONDS)
