"""The small writes of one turn of the event loop, done by the loop itself and committed together.

Eight clients that log point after point so share what costs most, the commit; nobody waits longer than for the turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from prefect_ml.errors import WouldWaitError

if TYPE_CHECKING:
    from prefect_ml.protocol.backend import AtOnce

Call = Callable[[], bytes]

# So many at a time, or the loop would be held up.
_MOST = 32


class Together:
    """Gathers calls until the turn's end.

    Args:
        at_once: does them; see `Backend`.
    """

    def __init__(self, at_once: AtOnce) -> None:
        self._at_once = at_once
        self._waiting: list[tuple[Call, asyncio.Future[bytes | None]]] = []

    async def run(self, call: Call) -> bytes | None:
        """What a call returns or raises; None when nothing was done, since it would have had to wait."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes | None] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._work, loop)
        self._waiting.append((call, future))
        return await future

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        now, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        if self._waiting:
            loop.call_soon(self._work, loop)
        try:
            outcomes = self._at_once([call for call, _ in now])
        except WouldWaitError:
            outcomes = [(None, None)] * len(now)
        except Exception as failure:  # noqa: BLE001  each of those who asked is told
            outcomes = [(None, failure)] * len(now)
        for (_, future), (answer, error) in zip(now, outcomes, strict=True):
            if error is None and not future.done():
                future.set_result(answer)
            elif error is not None and not future.done():
                future.set_exception(error)
