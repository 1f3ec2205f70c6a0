"""Opening a store: one object for each process and URL."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.settings import Settings
from prefect_ml.store.database import Database
from prefect_ml.store.sql import SqlStore
from prefect_ml.store.upgrade import upgrade

if TYPE_CHECKING:
    from pydantic import SecretStr

    from prefect_ml.store.contract import Store
    from prefect_ml.store.remote import HttpStore

# What clients call the artifact root of the server that they talk to, from MLflow's protocol.
SERVED_ROOT = "mlflow-artifacts:"

_stores: dict[tuple[int, str, str, str], SqlStore | HttpStore] = {}
_lock = threading.Lock()


def _forget_lock() -> None:
    global _lock  # noqa: PLW0603  another thread of the parent may hold it for ever in the child
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)


def open_store(url: str | None = None, *, artifact_root: str | None = None, token: SecretStr | None = None) -> Store:
    """See `prefect_ml.store.open_store`."""
    target = url or Settings().resolved_store_url
    # What is kept or sent otherwise than the settings say is another store; the settings of a moment are not.
    others = (artifact_root or "", token.get_secret_value() if token else "")
    key = (os.getpid(), target, *others)
    with _lock:
        store = _stores.get(key)
        if store is None or store.closed:
            store = _stores[key] = _opened(target, artifact_root, token)
        return store


def open_served_store(settings: Settings) -> SqlStore:
    """The store of a server, whose new experiments keep their artifacts behind it (`mlflow-artifacts:/<id>`)."""
    return _made(settings.resolved_store_url, settings, SERVED_ROOT, uninterrupted=True)


def _opened(url: str, root: str | None, token: SecretStr | None) -> SqlStore | HttpStore:
    settings = Settings()
    if url.lower().startswith(("http://", "https://")):
        from prefect_ml.store.remote import HttpStore  # noqa: PLC0415  loads a client that databases do not need

        return HttpStore(url, token or settings.server_token)  # type: ignore[abstract]  # its methods are made from the contract
    return _made(url, settings, _absolute(root or settings.resolved_artifact_root))


def _made(url: str, settings: Settings, artifact_root: str, *, uninterrupted: bool = False) -> SqlStore:
    database = Database(url, settings.sqlite_synchronous, uninterrupted=uninterrupted)
    try:
        upgrade(database)
    except BaseException:
        database.close()
        raise
    return SqlStore(database, artifact_root)


def _absolute(root: str) -> str:
    """A folder path made absolute, since runs remember it; a URI stays as it is."""
    return root if "://" in root or root.startswith("file:") else str(Path(root).expanduser().absolute())
