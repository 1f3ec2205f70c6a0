"""What the machine and this process use, by psutil and NVIDIA's library where they are installed."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

logger = logging.getLogger(__name__)

# What the names of system metrics begin with, as MLflow's do.
SYSTEM = "system/"
_MEGA = 1e6


class Readings:
    """Takes readings; rates and amounts count from the one before, or from here.

    The names are MLflow's where it has the metric
    (https://mlflow.org/docs/latest/ml/tracking/system-metrics/); those of the process are ours.

    Raises:
        ImportError: psutil is not installed.
    """

    def __init__(self) -> None:
        import psutil  # noqa: PLC0415 - an extra, and not needed by short runs

        self._psutil: Any = psutil
        self._lock = threading.Lock()
        self._process = psutil.Process()
        self._gpus = _Gpus()
        self._process.cpu_percent(None)
        psutil.cpu_percent(None)
        self._first = self._moved()

    def take(self) -> dict[str, float]:
        """Metrics by name; what this machine does not tell is left out."""
        with self._lock:
            found: dict[str, float] = {}
            for part in (self._machine, self._own, self._disk, self._traffic, self._gpus.take):
                try:
                    found |= part()
                except (OSError, RuntimeError, AttributeError, self._psutil.Error) as error:
                    logger.debug("A part of the system metrics cannot be read: %s", error)
            return {f"{SYSTEM}{name}": value for name, value in found.items()}

    def _machine(self) -> dict[str, float]:
        memory = self._psutil.virtual_memory()
        return {
            "cpu_utilization_percentage": self._psutil.cpu_percent(None),
            "system_memory_usage_megabytes": memory.used / _MEGA,
            "system_memory_usage_percentage": memory.percent,
        }

    def _own(self) -> dict[str, float]:
        """100 % is one processor's time; memory is that of this process with all its children."""
        children = self._process.children(recursive=True)
        resident = self._process.memory_info().rss
        for child in children:
            try:
                resident += child.memory_info().rss
            except self._psutil.Error as error:
                logger.debug("The child %s is gone: %s", child.pid, error)
        return {
            "process_cpu_utilization_percentage": self._process.cpu_percent(None),
            "process_memory_usage_megabytes": resident / _MEGA,
            "process_children": float(len(children)),
        }

    def _disk(self) -> dict[str, float]:
        usage = self._psutil.disk_usage(os.sep)
        return {
            "disk_usage_percentage": usage.percent,
            "disk_usage_megabytes": usage.used / _MEGA,
            "disk_available_megabytes": usage.free / _MEGA,
        }

    def _traffic(self) -> dict[str, float]:
        """Megabytes since the first reading of this process."""
        return {name: (value - self._first.get(name, value)) / _MEGA for name, value in self._moved().items()}

    def _moved(self) -> dict[str, int]:
        found: dict[str, int] = {}
        if (network := self._psutil.net_io_counters()) is not None:
            found |= {
                "network_receive_megabytes": network.bytes_recv,
                "network_transmit_megabytes": network.bytes_sent,
            }
        if (disk := self._psutil.disk_io_counters()) is not None:
            found |= {"disk_read_megabytes": disk.read_bytes, "disk_write_megabytes": disk.write_bytes}
        return found


class _Gpus:
    """NVIDIA's GPUs; none when there is no driver or its library is not installed."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        try:
            import pynvml  # noqa: PLC0415 - an extra
        except ImportError as error:
            logger.debug("GPUs are not looked at: %s", error)
            return
        self._library: Any = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            logger.debug("There is no GPU of NVIDIA here: %s", error)

    def take(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for number, handle in enumerate(self._handles):
            for part in (self._memory, self._use, self._power):
                try:
                    found |= {f"gpu_{number}_{name}": value for name, value in part(handle).items()}
                except self._library.NVMLError as error:
                    logger.debug("GPU %s does not tell: %s", number, error)
        return found

    def _memory(self, handle: Any) -> dict[str, float]:
        memory = self._library.nvmlDeviceGetMemoryInfo(handle)
        return {
            "memory_usage_percentage": 100 * memory.used / memory.total,
            "memory_usage_megabytes": memory.used / _MEGA,
        }

    def _use(self, handle: Any) -> dict[str, float]:
        return {"utilization_percentage": float(self._library.nvmlDeviceGetUtilizationRates(handle).gpu)}

    def _power(self, handle: Any) -> dict[str, float]:
        watts = self._library.nvmlDeviceGetPowerUsage(handle) / 1000
        limit = self._library.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
        return {"power_usage_watts": watts, "power_usage_percentage": 100 * watts / limit}
