"""What is told to Prefect in the background: in order, never raising, and waited for a little when the process ends."""

from __future__ import annotations

import atexit
import contextvars
import logging
import multiprocessing
import multiprocessing.util
import os
import queue
import threading
from typing import TYPE_CHECKING, Any, Literal

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL

from prefect_ml.tracking.console import outlasting_console

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

# Those of Prefect's API that something is posted to.
Path = Literal["/events", "/artifacts/"]

logger = logging.getLogger(__name__)

_MOST_WAITING = 1000
_SECONDS_AT_EXIT = 5.0
_SECONDS_A_REQUEST = 10.0


class _Sender:
    """One thread that sends what is in its queue, started with the first of it."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[contextvars.Context, Callable[[], None]]] = queue.Queue(_MOST_WAITING)
        self.lock = threading.Lock()
        self.waiting: set[Hashable] = set()
        self.thread: threading.Thread | None = None
        self.warned = False

    def add(self, send: Callable[[], None]) -> None:
        try:
            self.queue.put_nowait((contextvars.copy_context(), send))
        except queue.Full:
            self.complain("more than 1000 are waiting")
            with self.lock:
                self.waiting.clear()
            return
        with self.lock:
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, name="prefect-ml-events", daemon=True)
                self.thread.start()
                _finish_at_exit()

    def add_once(self, key: Hashable, send: Callable[[], None]) -> None:
        """Add it, unless one with the same key waits to begin: that one does its work too."""
        with self.lock:
            if key in self.waiting:
                return
            self.waiting.add(key)

        def begun() -> None:
            with self.lock:
                self.waiting.discard(key)
            send()

        self.add(begun)

    def complain(self, why: object) -> None:
        level = logging.DEBUG if self.warned else logging.WARNING
        self.warned = True
        logger.log(level, "Events or artifacts for Prefect are missing there (%s); the record itself is whole.", why)

    def _run(self) -> None:
        while True:
            context, send = self.queue.get()
            try:
                context.run(send)
            except Exception as error:  # noqa: BLE001 - what Prefect is told must not decide how a program goes on
                with outlasting_console():
                    self.complain(error)
            finally:
                self.queue.task_done()


_sender = _Sender()


def api_url() -> str | None:
    """The API that is configured, or that the flow run here talks to; None where Prefect is not in use."""
    if url := PREFECT_API_URL.value():
        return str(url)
    context = FlowRunContext.get()
    client = None if context is None else context.client
    return None if client is None else str(client.api_url)


def post_soon(path: Path, body: Any) -> None:
    """Post JSON to Prefect's API in the background; nowhere when Prefect is not in use here."""
    url = api_url()
    if url is not None:
        _sender.add(lambda: _post(url, path, body))


def do_soon(key: Hashable, work: Callable[[], None]) -> None:
    """Do something in the background, after what waits there; work that waits under the same key is done once."""
    _sender.add_once(key, work)


def finish(seconds: float = _SECONDS_AT_EXIT) -> bool:
    """Wait until all is sent or given up; whether it is."""
    waiting = _sender.queue
    with waiting.all_tasks_done:
        return waiting.all_tasks_done.wait_for(lambda: not waiting.unfinished_tasks, seconds)


def client_of(url: str) -> SyncPrefectClient:
    """A client of the API at a URL, with the credentials of this process."""
    # Not get_client(): the client of a flow run is closed with it, and without a URL it would start a server.
    return SyncPrefectClient(
        url,
        auth_string=PREFECT_API_AUTH_STRING.value(),
        api_key=PREFECT_API_KEY.value(),
        httpx_settings={"timeout": httpx.Timeout(_SECONDS_A_REQUEST)},
    )


def _post(url: str, path: Path, body: Any) -> None:
    with client_of(url) as client:
        client.request("POST", path, json=body).raise_for_status()


def _finish_at_exit() -> None:
    """Called late, so that it comes before the stop of a server that the flow run here started for itself."""
    if multiprocessing.parent_process() is None:
        atexit.register(finish)
    else:  # a worker of a process pool leaves without calling what atexit knows
        multiprocessing.util.Finalize(None, finish, exitpriority=10)


def _in_forked_child() -> None:
    global _sender  # noqa: PLW0603 - the one place where a process begins
    _sender = _Sender()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
