"""A flow's process outlives the worker that started it, whose pipes it writes to.

Prefect's worker reads the output of the processes that it starts. When it is killed, the next line that Prefect logs to
the console finds nobody who reads (EPIPE), and rich, which writes it, ends the process by SystemExit.
"""

from __future__ import annotations

import os
import select
import stat
import threading

_STARTED = threading.Lock()
# What Prefect's worker tells the process of a flow run.
_BY_WORKER = "PREFECT__FLOW_RUN_ID"


def outlive_worker() -> None:
    """From now on, output that nobody reads any more goes nowhere; idempotent, and nothing outside of a worker."""
    if _BY_WORKER not in os.environ or not hasattr(select, "poll") or not _STARTED.acquire(blocking=False):
        return
    pipes = [number for number in (1, 2) if _is_pipe(number)]
    if pipes:
        threading.Thread(target=_watch, args=(pipes,), name="prefect-ml-outlive", daemon=True).start()


def _watch(pipes: list[int]) -> None:
    poll = select.poll()
    for number in pipes:
        poll.register(number, 0)  # POLLERR is told without being asked for: nobody reads
    left = set(pipes)
    while left:
        for number, _ in poll.poll():
            poll.unregister(number)
            left.discard(number)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


def _is_pipe(number: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:
        return False
