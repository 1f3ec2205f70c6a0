"""When something that did not answer is asked again: seldom enough that asking costs a tenth of the time at most."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from prefect_ml.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHARE = 10.0
_SHORTEST_PAUSE = 1.0


class Asking:
    """Remembers how long it took to learn that something is away.

    Attributes:
        in_vain: whether the last one who asked got no answer.
    """

    def __init__(self) -> None:
        self.in_vain = False
        self._again_at = 0.0

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        """Ask in the body, which raises when there is no answer.

        Raises:
            StoreUnavailableError: nobody answered, or nobody did a moment ago, so that the body is not begun.
        """
        began = time.monotonic()
        if began < self._again_at:
            raise StoreUnavailableError("It did not answer a moment ago.")
        try:
            yield
        except StoreUnavailableError:
            ended = time.monotonic()
            self._again_at = ended + max(_SHORTEST_PAUSE, _SHARE * (ended - began))
            self.in_vain = True
            raise
        self.in_vain = False
