"""Whether the server can do its work: the store and the artifacts are really asked."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, PlainTextResponse, Response

from prefect_ml.http.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect_ml.protocol.backend import Backend

# Seconds that an answer is good for, and that a look may take.
_FRESH = 1.0
_PATIENCE = 5.0

_log = logging.getLogger("prefect_ml.server")


class Health:
    """Asks the store for its first experiment and the artifacts for their root.

    However many ask, there is one look at a time, and one a second.
    """

    def __init__(self, backend: Backend) -> None:
        self._looks: dict[str, Callable[[], object]] = {
            "store": lambda: backend.store.get_experiment("0"),
            "artifacts": backend.artifacts.list,
        }
        self._threads = Lane("health", len(self._looks), 0)
        self._asked: dict[str, tuple[float, asyncio.Task[bool]]] = {}

    async def answer(self) -> Response:
        """`OK`, as MLflow's clients expect it, or 503 with what cannot be reached within 5 seconds."""
        asked = {name: self._ask(name) for name in self._looks}
        done, _ = await asyncio.wait(asked.values(), timeout=_PATIENCE)
        failed = [name for name, task in asked.items() if task not in done or not task.result()]
        if not failed:
            return PlainTextResponse("OK")
        message = f"The server cannot reach its {' and '.join(failed)} now; its operator should look there."
        content = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": message}
        return JSONResponse(content, 503, {"Retry-After": "1"})

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()

    def _ask(self, name: str) -> asyncio.Task[bool]:
        """The look that is going on, or was made a moment ago, or a new one."""
        now = time.monotonic()
        begun, task = self._asked.get(name, (0.0, None))
        if task is None or (task.done() and now - begun > _FRESH):
            task = asyncio.create_task(self._threads.run(_works, name, self._looks[name]))
            self._asked[name] = now, task
        return task


def _works(name: str, look: Callable[[], object]) -> bool:
    try:
        look()
    except Exception as error:  # noqa: BLE001  whatever stands in the way, it cannot be reached
        _log.warning("The %s cannot be reached: %s", name, error)
        return False
    return True
