"""A tracking server of this process's own, for an MLflow client that it starts; it loads when somebody connects."""

from __future__ import annotations

import contextlib
import logging
import secrets
import select
import threading
from typing import TYPE_CHECKING

from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import InvalidInputError
from prefect_ml.http.listener import listening, url_of
from prefect_ml.store import open_store

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from prefect_ml.settings import Settings
    from prefect_ml.store.sql import SqlStore

_log = logging.getLogger("prefect_ml.server")
_LOOK_SECONDS = 0.2
_STOP_SECONDS = 30.0


@contextlib.contextmanager
def served_beside(settings: Settings) -> Iterator[tuple[str, str]]:
    """The URL and the token of a server over the database of some settings, for as long as the body lasts.

    Whoever reaches this machine's loopback needs the token, which is new each time.

    Raises:
        InvalidInputError: the store is behind a server already.
    """
    from prefect_ml.store.sql import SqlStore  # noqa: PLC0415

    store = open_store(settings.resolved_store_url)
    if not isinstance(store, SqlStore):
        raise InvalidInputError("The store is behind a tracking server already; clients speak to that.")
    token = secrets.token_urlsafe(32)
    own = settings.replaced(server_token=token, server_log="off", server_drain=5)
    over = threading.Event()
    with listening("127.0.0.1", 0, guarded=True, setting="PREFECT_ML_SERVER_TOKEN") as listener:
        url = url_of(listener)
        thread = threading.Thread(
            target=_serve, args=(listener, store, own, over), name="prefect-ml-server", daemon=True
        )
        thread.start()
        try:
            yield url, token
        finally:
            over.set()
            thread.join(_STOP_SECONDS)


def _serve(listener: socket.socket, store: SqlStore, settings: Settings, over: threading.Event) -> None:
    while not select.select([listener], [], [], _LOOK_SECONDS)[0]:
        if over.is_set():
            return
    try:
        _run(listener, store, settings, over)
    except Exception:  # noqa: BLE001 - its client is told by the connection, and the command goes on
        _log.exception("The tracking server for MLflow's client failed")


def _run(listener: socket.socket, store: SqlStore, settings: Settings, over: threading.Event) -> None:
    # Loaded now, since most commands never need it.
    from prefect_ml.http.patience import patient  # noqa: PLC0415
    from prefect_ml.http.process import ServingProcess  # noqa: PLC0415
    from prefect_ml.protocol.backend import Backend  # noqa: PLC0415
    from prefect_ml.protocol.webhook_calls import WebhookCalls  # noqa: PLC0415
    from prefect_ml.server.app import build_app  # noqa: PLC0415

    # The store of this process, which gives artifacts the places that its own code finds them at.
    artifacts = open_artifacts(settings.resolved_artifact_root)
    backend = Backend(store, artifacts, store.database.at_once, WebhookCalls(settings))
    process = ServingProcess(
        build_app(backend, settings, hosts={listener.getsockname()[0]}),
        lambda: None,
        drain=settings.server_drain,
        protocol=patient(settings.server_body_timeout),
    )

    def stop() -> None:
        over.wait()
        process.should_exit = True

    threading.Thread(target=stop, name="prefect-ml-server-stop", daemon=True).start()
    process.run(sockets=[listener])
