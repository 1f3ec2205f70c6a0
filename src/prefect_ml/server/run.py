"""Serving the store and its artifacts, in this process or in several."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import InvalidInputError
from prefect_ml.http.listener import listening, stopped_in_order, url_of
from prefect_ml.http.metrics import forget, shared_numbers
from prefect_ml.http.patience import patient
from prefect_ml.http.process import ServingProcess
from prefect_ml.http.request_log import log_as
from prefect_ml.http.workers import Workers
from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.webhook_calls import WebhookCalls
from prefect_ml.server.app import build_app
from prefect_ml.server.telling import telling
from prefect_ml.server.webhooks import delivering
from prefect_ml.settings import Settings
from prefect_ml.store.open import open_served_store

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator


def run_server(
    *, host: str = "127.0.0.1", port: int = 5000, workers: int = 1, settings: Settings | None = None
) -> None:
    """Serve the store and its artifacts until SIGTERM or SIGINT, then answer what is in hand and return.

    Args:
        host: address to listen on; beyond this machine only with the setting `server_token`.
        port: TCP port; 0 takes a free one, and the line on standard output names it.
        workers: processes that serve; one that dies is replaced.
        settings: read from the environment by default.

    Raises:
        InvalidInputError: an address that cannot be listened on, or one beyond this machine without a token.
        StoreUnavailableError: the store cannot be reached.
        WorkersFailedError: a worker ended before all served.
    """
    settings = settings or Settings()
    if workers < 1:
        raise InvalidInputError(f"{workers} processes cannot serve; use --workers 1 or more.")
    log_as(settings.server_log)
    guarded = bool(settings.server_token)
    with listening(host, port, guarded=guarded, setting="PREFECT_ML_SERVER_TOKEN") as listener:
        if workers == 1:
            _serve(listener, settings, lambda backend: _announce(listener, settings, backend.store.url))
        else:
            _serve_in_several(listener, settings, workers)


@contextlib.contextmanager
def backend_of(settings: Settings) -> Iterator[Backend]:
    """The store and the artifacts that settings name."""
    artifacts = open_artifacts(settings.resolved_artifact_root)
    with contextlib.closing(open_served_store(settings)) as store:
        yield Backend(store, artifacts, store.database.at_once, WebhookCalls(settings))


def _serve(
    listener: socket.socket, settings: Settings, ready: Callable[[Backend], None], parent: int | None = None
) -> None:
    with backend_of(settings) as backend, delivering(backend, settings), telling(backend.store):
        app = build_app(backend, settings, hosts={listener.getsockname()[0]})
        process = ServingProcess(
            app,
            lambda: ready(backend),
            drain=settings.server_drain,
            protocol=patient(settings.server_body_timeout),
            parent=parent,
        )
        with stopped_in_order(process):
            process.run(sockets=[listener])


def _serve_in_several(listener: socket.socket, settings: Settings, count: int) -> None:
    # Before any worker: what is wrong with the store is one sentence here, and its schema is brought up to date once.
    with contextlib.closing(open_served_store(settings)) as store:
        place = store.url
    parent = os.getpid()

    def serve(ready: Callable[[], None]) -> None:
        _serve(listener, settings, lambda _: ready(), parent)

    with shared_numbers():
        workers = Workers(count, serve, drain=settings.server_drain, ended=forget)
        workers.run(listener, lambda: _announce(listener, settings, place))


def _announce(listener: socket.socket, settings: Settings, store: str) -> None:
    root = settings.resolved_artifact_root
    artifacts = root if "://" in root else str(Path(root).absolute())
    sys.stdout.write(f"Serving {store}, artifacts in {artifacts} at {url_of(listener)}\n")
    sys.stdout.flush()
