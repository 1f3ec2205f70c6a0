"""What could not be loaded, and when it is worth another try."""

from __future__ import annotations

import time

_LONGEST_DELAY = 60.0


class Refused:
    """The newest thing that could not be loaded; something else is tried at once.

    Args:
        delay: seconds until the first further try; doubled with each, up to a minute.
    """

    def __init__(self, delay: float) -> None:
        self._first_delay = delay
        self._delay = delay
        self._what: object = None
        self._retry_at = 0.0

    def may_try(self, wanted: object) -> bool:
        """Whether to load it now."""
        return wanted != self._what or time.monotonic() >= self._retry_at

    def note(self, wanted: object) -> bool:
        """Note that it could not be loaded; whether that is news."""
        news = wanted != self._what
        self._delay = self._first_delay if news else min(self._delay * 2, _LONGEST_DELAY)
        self._retry_at = time.monotonic() + self._delay
        self._what = wanted
        return news

    def clear(self) -> None:
        """Note that what is wanted is loaded."""
        self._what = None
