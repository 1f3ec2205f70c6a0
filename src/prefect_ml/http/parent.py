"""A server that ends with the process that started it, however that one ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from types import FrameType

# prctl(2): the signal that the kernel sends when the parent has ended, by kill -9 too.
_PR_SET_PDEATHSIG = 1
# Seconds between two looks at the parent where the kernel tells nobody.
_LOOK = 0.5


def end_with(parent: int, *, within: int) -> None:
    """Stop in order, as by SIGTERM, once the parent process has ended; what is left then is killed by the kernel.

    To be called from the main thread, early: before anything is loaded, and before threads run.

    Args:
        parent: the process that started this one, by its number.
        within: seconds from the parent's end until this process is killed, if it has not ended in order.

    Raises:
        InvalidInputError: another process is the parent, or it has ended already.
    """

    def stop(_: int, __: FrameType | None) -> None:
        # SIGALRM is left to the kernel: it ends this process even where a thread holds Python's lock for ever.
        signal.alarm(within)
        os.kill(os.getpid(), signal.SIGTERM)

    refusal = InvalidInputError(f"The process {parent} is not the one that started this, or it has ended.")
    if os.getppid() != parent:
        raise refusal
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, stop)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR2, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent,), name="prefect-ml-parent", daemon=True).start()
    if os.getppid() != parent:  # it ended just before the kernel was asked to tell of it
        raise refusal


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGUSR2)
