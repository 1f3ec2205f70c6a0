"""What a run is executed with: the installed packages that are imported, and the machine."""

from __future__ import annotations

import functools
import os
import platform
import sys
from pathlib import Path

_HOST = "prefect_ml.host"


def packages() -> str:
    """`name==version` of each installed package that is imported now, a line each, sorted."""
    return _pins(frozenset(name.partition(".")[0] for name in list(sys.modules)))


@functools.cache
def host_tags() -> dict[str, str]:
    """Name, system, processors and memory in megabytes of this machine; what it does not tell is left out."""
    tags = {
        f"{_HOST}.name": platform.node(),
        f"{_HOST}.system": f"{platform.system()} {platform.release()} {platform.machine()}".strip(),
        f"{_HOST}.cpu": _processor(),
        f"{_HOST}.cpu_count": str(os.cpu_count() or ""),
        f"{_HOST}.memory_megabytes": _memory(),
    }
    return {key: value[:250] for key, value in tags.items() if value}


@functools.lru_cache(maxsize=4)
def _pins(modules: frozenset[str]) -> str:
    from prefect_ml.models.environment import requirements  # noqa: PLC0415 - only those who use it pay for its import

    return "".join(f"{pin}\n" for pin in requirements(modules))


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            models = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    except OSError:
        return platform.machine()
    return models[0] if models else platform.machine()


def _memory() -> str:
    try:
        return str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000)
    except (AttributeError, OSError, ValueError):
        return ""
