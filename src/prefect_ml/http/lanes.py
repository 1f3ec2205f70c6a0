"""The threads in which requests are worked on, and how many requests may wait for them."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from prefect_ml.http.refusal import RefusedError

T = TypeVar("T")
Item = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]


class Lane:
    """A bounded number of daemon threads, and a queue before them that does not grow beyond a bound.

    Python waits at its end for every thread of a `ThreadPoolExecutor`: one search that never ends would keep a process
    that was told to stop.

    Args:
        name: of the threads.
        threads: calls that run at a time; a thread is started when it is first needed.
        waiting: calls that wait for a thread; one more is refused.

    Attributes:
        pending: calls in hand now.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self.pending = 0
        self._name = name
        self._threads = threads
        self._most = threads + waiting
        self._started = 0
        self._calls: SimpleQueue[Item | None] = SimpleQueue()
        weakref.finalize(self, _end, self._calls, threads)

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """What the call returns or raises in one of the threads; cancelled before it starts, it is not made.

        Raises:
            RefusedError: 503, as many calls wait as may.
        """
        if self.pending >= self._most:
            raise RefusedError(
                503,
                "TEMPORARILY_UNAVAILABLE",
                f"{self.pending} requests of this kind are in hand already; try again in a second.",
                {"Retry-After": "1"},
            )
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.pending += 1
        if self.pending > self._started < self._threads:
            self._start()
        try:
            self._calls.put((future, call, arguments))
            return await future
        finally:
            self.pending -= 1

    def close(self) -> None:
        """Let each thread end after the calls that were given before; none is waited for."""
        _end(self._calls, self._threads)

    def _start(self) -> None:
        name = f"prefect-ml-{self._name}-{self._started}"
        self._started += 1
        threading.Thread(target=_work, args=(self._calls,), name=name, daemon=True).start()


@dataclass(frozen=True, slots=True)
class Lanes:
    """Two lanes, so that a flood of slow searches stops neither what is logged nor what is looked up by its id.

    Attributes:
        quick: for everything that touches few rows.
        searches: for what may read many.
    """

    quick: Lane
    searches: Lane

    @classmethod
    def of(cls, threads: int, waiting: int) -> Lanes:
        """Lanes of so many threads for quick work, a quarter of that for searches, and a queue of that length each."""
        return cls(Lane("quick", threads, waiting), Lane("search", max(1, threads // 4), waiting))

    def close(self) -> None:
        """Let all threads end."""
        self.quick.close()
        self.searches.close()


def _end(calls: SimpleQueue[Item | None], threads: int) -> None:
    for _ in range(threads):
        calls.put(None)


def _work(calls: SimpleQueue[Item | None]) -> None:
    while (item := calls.get()) is not None:
        future, call, arguments = item
        if not future.cancelled():
            try:
                result = call(*arguments)
            except BaseException as error:  # noqa: BLE001  whatever it is belongs to the one who asked
                _hand_over(future, None, error)
            else:
                _hand_over(future, result, None)
                del result
        del item, future, call, arguments  # else the last request stayed in memory until the next one


def _hand_over(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    loop = future.get_loop()
    if not loop.is_closed():  # a server whose time to end was over does not wait for its threads
        loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
