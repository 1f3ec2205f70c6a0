"""Ending the attempts of dead processes.

Run as a program by `watchdog`, it delivers what a process left, and ends the attempts that it did not end.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.entities import RunStatus
from prefect_ml.errors import NotFoundError, StoreUnavailableError
from prefect_ml.store import open_store
from prefect_ml.tracking.outbox import deliver_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from prefect_ml.entities import Attempt
    from prefect_ml.store.contract import Store

logger = logging.getLogger(__name__)

# Whoever else learns of an end, such as the orchestrator's worker, knows better how it came, and may need so long.
_GRACE = 3.0
_LONGEST_PAUSE = 60.0
_PATIENCE = 600.0


def end_silent(
    store: Store,
    timeout: float,
    *,
    spare: Collection[str] = (),
    how: Callable[[Attempt], RunStatus] = lambda _: RunStatus.KILLED,
) -> list[Attempt]:
    """End the attempts that gave no sign of life for `timeout` seconds, at their last one.

    Args:
        store: where they are.
        timeout: in seconds.
        spare: ids of attempts that live, whatever the store knows.
        how: how they ended.

    Returns:
        Those that were ended now.
    """
    return [
        attempt
        for attempt in store.silent_attempts(timeout)
        if attempt.attempt_id not in spare
        and store.presume_ended(attempt.run_id, attempt.attempt_id, how(attempt), attempt.seen, seen=attempt.seen)
    ]


def as_told(entry: Mapping[str, str]) -> RunStatus:
    """How an attempt ended of which no more is known than its process told: as its code did, or KILLED."""
    return RunStatus(entry.get("code", RunStatus.KILLED))


def end_left(
    entries: list[Mapping[str, str]], died_at: int, how: Callable[[Mapping[str, str]], RunStatus] = as_told
) -> None:
    """Deliver and end what a process left that died, patiently when the store is away.

    Args:
        entries: what `Watch` told of each attempt.
        died_at: when it died, in ms.
        how: how an attempt ended.
    """
    left, pause, until = list(entries), 1.0, time.monotonic() + _PATIENCE
    while True:
        left = [entry for entry in left if not _end_one(entry, died_at, how)]
        if not left or time.monotonic() > until:
            return
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _end_one(entry: Mapping[str, str], died_at: int, how: Callable[[Mapping[str, str]], RunStatus]) -> bool:
    """Whether nothing is left to do."""
    try:
        store = open_store(entry["store_url"])
        deliver_folder(store, Path(entry["folder"]), mark=False)
        if _is_open(store, entry):
            time.sleep(_GRACE)
            if _is_open(store, entry):
                status = how(entry)
                at = int(entry["code_ended_at"]) if status == entry.get("code") else died_at
                store.presume_ended(entry["run_id"], entry["attempt_id"], status, at, anew=True)
    except StoreUnavailableError as error:
        logger.debug("The end of run %s waits: %s", entry["run_id"], error)
        return False
    except NotFoundError as error:
        logger.debug("The run %s is gone: %s", entry["run_id"], error)
    return True


def _is_open(store: Store, entry: Mapping[str, str]) -> bool:
    """Whether nobody who was there has told the end; those who found a journal without its process only presume it."""
    mine = [each for each in store.get_attempts(entry["run_id"]) if each.attempt_id == entry["attempt_id"]]
    return any(attempt.end_time is None or attempt.presumed for attempt in mine)


if __name__ == "__main__":
    told = json.load(sys.stdin)
    end_left(told["entries"], told["died_at"])
