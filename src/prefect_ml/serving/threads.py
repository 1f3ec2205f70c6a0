"""The threads that predict."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Threads:
    """A fixed number of daemon threads.

    Python waits at its end for every thread of a `ThreadPoolExecutor`: one prediction that never ends would keep a
    process that was told to stop.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._calls: SimpleQueue[tuple[Future[bytes], Callable[[], bytes]] | None] = SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._run, name=f"prefect-ml-predict-{number}", daemon=True).start()

    async def run(self, call: Callable[[], bytes]) -> bytes:
        """What the call returns or raises in one of the threads; cancelled before it starts, it is not made."""
        future: Future[bytes] = Future()
        self._calls.put((future, call))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let each thread end after the calls that were given before."""
        for _ in range(self._count):
            self._calls.put(None)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the one who asked
                    future.set_exception(error)
            del item, future, call  # else the model of the last call stayed in memory until the next one
