"""Whether a model is so fast that handing its requests to a thread would cost more than to predict at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds that one row may take for the event loop to predict itself: less than it waits for a thread and back under
# load.
_QUICK = 0.002
# Seconds after which a prediction on the loop counts as slow, and the pause that follows it; it doubles up to the last.
_SLOW = 0.020
_PAUSE = 5.0
_LONGEST_PAUSE = 600.0
# Bytes of a body that has few rows.
_SMALL = 8 << 10
# Tries that the first look takes, of which the best counts.
_TRIES = 3
# Flavors whose predictions are arithmetic on the rows: no waiting, no code of a user's own.
_BOUNDED = frozenset({"sklearn", "xgboost", "lightgbm", "catboost", "onnx", "statsmodels"})


class Pace:
    """Decides for one replica, by what a row took at warm-up and by what each prediction on the loop takes.

    Args:
        flavor: name of the model's flavor; only those that do arithmetic are trusted to keep their pace.
        one_row: predicts one row, to be timed; None when the model has no example to take it from.
        clock: seconds that only go forward.
    """

    def __init__(
        self, flavor: str, one_row: Callable[[], object] | None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock = clock
        self._barred_until = 0.0
        self._pause = _PAUSE
        self.seconds = float("inf")
        if flavor in _BOUNDED and one_row is not None:
            for _ in range(_TRIES):
                began = clock()
                one_row()
                self.seconds = min(self.seconds, clock() - began)

    def quick(self, size: int) -> bool:
        """Whether a request whose body has so many bytes may be answered on the event loop."""
        return self.seconds <= _QUICK and size <= _SMALL and self._clock() >= self._barred_until

    def took(self, seconds: float) -> None:
        """Note what an answer on the event loop took; after a slow one, threads answer for a while."""
        if seconds > _SLOW:
            self._barred_until = self._clock() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
