"""`prefect-ml server`."""

from __future__ import annotations

import logging
import os
from urllib.parse import urlsplit

_log = logging.getLogger("prefect_ml.server")


def server(
    *,
    host: str = "127.0.0.1",
    port: int = 5000,
    store: str | None = None,
    artifacts: str | None = None,
    workers: int = 1,
) -> None:
    """Serve the store to a team and to every MLflow client, until told to stop.

    Args:
        host: Address to listen on; beyond this machine only with a token (PREFECT_ML_SERVER_TOKEN).
        port: Port to listen on.
        store: SQLAlchemy URL of the store; the one that the settings name when absent.
        artifacts: Folder or URL of the artifacts; the one that the settings name when absent.
        workers: Processes that serve; each that dies is replaced.
    """
    from prefect_ml.server import run_server  # noqa: PLC0415 (loads the web server)

    if store is not None and urlsplit(store).password:
        _log.warning("Everybody on this machine can read the password in --store; set PREFECT_ML_STORE_URL instead.")
    for name, value in {"PREFECT_ML_STORE_URL": store, "PREFECT_ML_ARTIFACT_ROOT": artifacts}.items():
        if value is not None:
            os.environ[name] = value
    run_server(host=host, port=port, workers=workers)
