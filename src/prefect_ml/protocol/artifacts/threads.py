"""The threads that files are read and written in, apart from those of the other requests."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Threads:
    """So many calls at a time; the others wait. A thread is held for one piece of a file, never for all of it."""

    def __init__(self, number: int) -> None:
        self._pool = ThreadPoolExecutor(number, "prefect-ml-files")

    async def run(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    def close(self) -> None:
        self._pool.shutdown(wait=True)
