"""Tracking must not change the outcome of a flow."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from prefect_ml.errors import PrefectMLError
from prefect_ml.tracking.console import outlasting_console

logger = logging.getLogger("prefect_ml.track")


@contextlib.contextmanager
def harmless(what: str) -> Iterator[None]:
    """A failure of tracking is a warning; the flow goes on."""
    try:
        yield
    except PrefectMLError as error:
        with outlasting_console():
            logger.warning("%s; the flow goes on. %s", what, error)
    except Exception:  # tracking must not change the outcome of the user's flow
        with outlasting_console():
            logger.warning("%s; the flow goes on.", what, exc_info=True)
