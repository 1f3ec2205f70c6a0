"""The name of this platform, as a part of what tells environments apart."""

from __future__ import annotations

import functools
import os
import platform


@functools.cache
def this_platform() -> str:
    """System, release, machine and C library, such as "Linux-6.1.0-x86_64-with-glibc2.36".

    It is what `platform.platform()` says, which on Linux starts a process to learn what it then leaves out.
    """
    try:
        system, libc = os.uname(), os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        libc = None
    if libc is None or system.sysname != "Linux":
        return platform.platform()
    return f"{system.sysname}-{system.release}-{system.machine}-with-{libc.replace(' ', '')}"
