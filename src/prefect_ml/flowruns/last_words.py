"""`prefect_ml.tracking.reaper` for processes that executed flow runs: it asks Prefect how they ended."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Mapping

from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_ml.entities import RunStatus
from prefect_ml.errors import StoreUnavailableError
from prefect_ml.flowruns.steps import sync_steps_if_reached
from prefect_ml.flowruns.verdict import verdict
from prefect_ml.store import open_store
from prefect_ml.tracking.reaper import as_told, end_left

logger = logging.getLogger(__name__)

_PAUSE = 10.0
# A process of this kind takes about 100 MB.
_PATIENCE = 600.0
# Told of each attempt: the API that orchestrates it, "" when that lived and died with the process.
API = "prefect_api_url"


class LastWords:
    """Asks how attempts of a dead process ended, and remembers those about which nobody could be asked."""

    def __init__(self) -> None:
        self._unanswered: list[Mapping[str, str]] = []

    def how(self, entry: Mapping[str, str]) -> RunStatus:
        """The status with which an attempt ended; as its process told when Prefect is away."""
        try:
            return _ask(entry)
        except StoreUnavailableError as error:
            logger.debug("%s", error)
            self._unanswered.append(entry)
            return as_told(entry)

    def make_true(self, patience: float = _PATIENCE) -> None:
        """Have Prefect say what became of the flow runs about which it could not be asked.

        Args:
            patience: seconds to try for.
        """
        until = time.monotonic() + patience
        while self._unanswered and time.monotonic() < until:
            time.sleep(_PAUSE)
            asked, self._unanswered = self._unanswered, []
            for entry in asked:
                self.how(entry)


def sync_steps(entries: Iterable[Mapping[str, str]]) -> None:
    """Read the steps of the runs that a dead process executed; what cannot be read now is read by whoever looks."""
    for entry in entries:
        if entry.get(API):
            with temporary_settings({PREFECT_API_URL: entry[API]}):
                sync_steps_if_reached(open_store(entry["store_url"]), entry["run_id"])


def _ask(entry: Mapping[str, str]) -> RunStatus:
    if not entry.get(API):
        return as_told(entry)
    with temporary_settings({PREFECT_API_URL: entry[API]}):
        return verdict(entry["run_id"], entry["attempt_id"], as_told(entry), process_lives="left" in entry)


def facts() -> dict[str, str]:
    """What the process that outlives this one must know to ask."""
    return {API: PREFECT_API_URL.value() or ""}


if __name__ == "__main__":
    told = json.load(sys.stdin)
    words = LastWords()
    end_left(told["entries"], told["died_at"], words.how)
    sync_steps(told["entries"])
    words.make_true()
