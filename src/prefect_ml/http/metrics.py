"""What `/metrics` tells of the requests, in Prometheus' text format; several workers are added up.

Labels are routes' templates, known methods and statuses, so that no client can add to their number.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Counter, Histogram
    from prometheus_client.metrics_core import Metric

# Where prometheus-client keeps the numbers of several processes; read when it is imported.
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@contextmanager
def shared_numbers() -> Iterator[None]:
    """Within, processes that are forked add their numbers up, in a folder that only their user can read."""
    folder = tempfile.mkdtemp(prefix="prefect-ml-metrics-")
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
        shutil.rmtree(folder, ignore_errors=True)


def forget(pid: int) -> None:
    """Leave a process that has died out of the numbers that tell of now; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  after the variable is set

    mark_process_dead(pid)  # type: ignore[no-untyped-call]


class RequestMetrics:
    """Counts requests, and tells the numbers.

    Attributes:
        registry: where others may add numbers of their own; gauges by processes need a `multiprocess_mode`.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram  # noqa: PLC0415  as above

        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("prefect_ml_requests", "Requests that were answered.", labels, registry=self.registry)
        self._durations = Histogram(
            "prefect_ml_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ("method", "route"),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._in_flight = Gauge(
            "prefect_ml_requests_in_flight",
            "Requests that are not answered yet.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.begin = self._in_flight.inc

    def end(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was begun.

        Args:
            method: of HTTP; one that is not known counts as "OTHER".
            route: the template of its route.
            status: of the answer.
            seconds: that it took.
        """
        children = self._children.get((method, route, status))
        if children is None:
            children = self._added(method, route, status)
        children[0].inc()
        children[1].observe(seconds)
        self._in_flight.dec()

    def text(self) -> tuple[bytes, str]:
        """The numbers and their content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest  # noqa: PLC0415
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

        registry = CollectorRegistry()
        folder = os.environ.get(_VARIABLE)
        if folder:
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        else:
            registry.register(self.registry)
        registry.register(_Processes(folder))
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _added(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        known = method if method in _METHODS else "OTHER"
        added = self._requests.labels(known, route, str(status)), self._durations.labels(known, route)
        if known == method:
            self._children[method, route, status] = added
        return added


class _Processes:
    """Memory, processor time and files of the process, or of all workers together."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        from prometheus_client import ProcessCollector  # noqa: PLC0415  as above

        total: dict[str, Metric] = {}
        for pid in self._pids():
            for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                sample = metric.samples[0]
                if metric.name not in total:
                    total[metric.name] = metric
                    continue
                together = max if sample.name.endswith("start_time_seconds") else sum
                old = total[metric.name].samples[0]
                total[metric.name].samples[0] = old._replace(value=together((old.value, sample.value)))
        return total.values()

    def _pids(self) -> list[str]:
        if self._folder is None:
            return ["self"]
        return [path.stem.rpartition("_")[2] for path in Path(self._folder).glob("gauge_livesum_*.db")]
