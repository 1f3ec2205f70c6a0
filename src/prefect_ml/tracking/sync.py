"""Delivering what dead processes left."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError, PrefectMLError, StoreUnavailableError
from prefect_ml.settings import Settings
from prefect_ml.tracking.outbox import JournalReport, deliver_folder
from prefect_ml.tracking.place import place_of

if TYPE_CHECKING:
    from pathlib import Path

    from prefect_ml.store.contract import Store

__all__ = ["JournalReport", "deliver_left", "sync_journals"]

logger = logging.getLogger(__name__)

# A file that is not a journal yet for so long is one whose process died while making it.
_STILLBORN_AFTER = 3600.0


def sync_journals(store: Store, folder: Path | None = None) -> list[JournalReport]:
    """Deliver every journal below a folder; exactly once, however often and wherever it is called.

    Journals of living processes are delivered up to where they are and left to them.

    Args:
        store: where to.
        folder: journals that were carried here, whatever store they were recorded for: a home of another
            machine, or its folder `journal`; by default those of this process's settings that were recorded
            for this store.

    Raises:
        InvalidInputError: there is no such folder.
        StoreUnavailableError: what is not delivered stays; call again.
    """
    settings = Settings()
    place = place_of(settings.resolved_store_url) if folder is None else None
    folder = settings.journal_folder if folder is None else _journals_below(folder)
    if not folder.is_dir():
        return []
    reports: list[JournalReport] = []
    for run_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        for stillborn in run_folder.glob("*.partial"):
            if time.time() - stillborn.stat().st_mtime > _STILLBORN_AFTER:
                stillborn.unlink(missing_ok=True)
        reports += deliver_folder(store, run_folder, place=place)
    return reports


def _journals_below(folder: Path) -> Path:
    if not folder.is_dir():
        raise InvalidInputError(f"There is no folder {str(folder)!r}; give a copied PREFECT_ML_HOME or its `journal`.")
    inner = folder / Settings().journal_folder.name
    return inner if inner.is_dir() else folder


def deliver_left(store: Store, folder: Path) -> None:
    """Deliver what dead processes left for this store, without a word of what is for others.

    Raises:
        StoreUnavailableError: what is not delivered stays; call again.
    """
    place = place_of(Settings().resolved_store_url)
    for run_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            deliver_folder(store, run_folder, place=place, level=logging.DEBUG)
        except StoreUnavailableError:
            raise
        except PrefectMLError as error:
            logger.warning("What lies in %s cannot be delivered and is kept: %s", run_folder, error)
