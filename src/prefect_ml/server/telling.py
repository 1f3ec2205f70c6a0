"""Telling Prefect of what clients change in the registry: a thread of each server process, where Prefect is in use.

An MLflow client knows of no Prefect, and one of ours may die before it has told. The store's audit log is the outbox.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect_ml.store.contract import Store

_log = logging.getLogger("prefect_ml.server.telling")

# Seconds: between two looks at the audit log, the most between two while Prefect is away, and the most that the end of
# the server waits for a request to Prefect.
_POLL = 2.0
_LONGEST = 60.0
_LEAVE = 12.0


@contextlib.contextmanager
def telling(store: Store) -> Iterator[None]:
    """Within, a thread tells Prefect; none does where PREFECT_API_URL is not set."""
    if not os.environ.get("PREFECT_API_URL"):
        yield
        return
    stopped = threading.Event()
    thread = threading.Thread(target=_run, args=(store, stopped), name="prefect-ml-telling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(_LEAVE)


def _run(store: Store, stopped: threading.Event) -> None:
    from prefect_ml.flowruns.telling import tell_events  # noqa: PLC0415  only a server that tells pays for Prefect

    pause, away = _POLL, False
    # Several processes look at different times: mostly, one tells and the others find nothing left to tell.
    while not stopped.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311  spreads calls, hides nothing
        try:
            tell_events(store)
        except Exception as error:  # noqa: BLE001  the thread must outlive whatever Prefect or the database may say
            if not away:
                _log.warning("Prefect is told of nothing for now: %s", error)
            pause, away = min(_LONGEST, 2 * pause), True
        else:
            pause, away = _POLL, False
