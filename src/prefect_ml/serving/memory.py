"""Giving the memory of a model back that nobody asks any more."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Free what is unreachable, and return what the C library keeps of it to the machine.

    Models hold cycles, so that counting references does not free them. And glibc keeps freed memory in pieces for
    itself: after a swap, these are as large as a model.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
