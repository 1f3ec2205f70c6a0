"""What `/metrics` tells of each model and version, beside the numbers of all requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    from prefect_ml.serving.observing import Answered
    from prefect_ml.serving.picking import ServedModel

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_ANSWERED = 200
Numbers = tuple["Counter", "Histogram", "Counter", "Counter"]


class ModelMetrics:
    """An observer that counts by model and version; the numbers of all workers are added up.

    Labels are names that the operator chose, versions and statuses, so that no client can add to their number.

    Args:
        registry: that the numbers are in.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415  after workers have their folder

        of_version = ("model", "version")
        self._requests = Counter(
            "prefect_ml_model_requests", "Requests that were answered.", (*of_version, "status"), registry=registry
        )
        self._errors = Counter(
            "prefect_ml_model_errors", "Requests that were refused or that the model failed on.", of_version,
            registry=registry,
        )  # fmt: skip
        self._rows = Counter("prefect_ml_model_rows", "Rows that were predicted.", of_version, registry=registry)
        self._seconds = Histogram(
            "prefect_ml_model_seconds",
            "Seconds from the head of a request until its answer was handed over.",
            of_version,
            registry=registry,
            buckets=_SECONDS,
        )
        self._batches = Histogram(
            "prefect_ml_model_batch_requests",
            "Requests that were predicted together, where requests are gathered.",
            ("model",),
            registry=registry,
            buckets=_BATCHES,
        )
        self._in_flight = Gauge(
            "prefect_ml_model_in_flight",
            "Requests that are not answered yet.",
            ("model",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._swaps = Counter(
            "prefect_ml_model_swaps", "Versions that took over from another one.", ("model",), registry=registry
        )
        self._children: dict[tuple[str, str, int], Numbers] = {}
        self._newest: dict[str, dict[str, int]] = {}

    def answered(self, request: Answered) -> None:
        version = request.replica.version if request.replica is not None else ""
        key = (request.name, version, request.status)
        requests, seconds, rows, errors = self._children.get(key) or self._added(key)
        requests.inc()
        seconds.observe(request.seconds)
        if request.status == _ANSWERED:
            if request.rows:
                rows.inc(request.rows)
        else:
            errors.inc()

    def close(self) -> None:
        """Nothing is held back."""

    def in_flight(self, name: str) -> Gauge:
        """The gauge of requests in hand to a model."""
        return self._in_flight.labels(name)

    def batches(self, name: str) -> Histogram:
        """The sizes of a model's batches."""
        return self._batches.labels(name)

    def note_swaps(self, models: Iterable[ServedModel]) -> None:
        """Count what has been loaded since the last look; the first look counts nothing."""
        for model in models:
            loaded = {replica.version: replica.loaded_at for replica in model.replicas()}
            known = self._newest.get(model.name)
            if known is None:
                self._swaps.labels(model.name)
            elif fresh := sum(known.get(version) != at for version, at in loaded.items()):
                self._swaps.labels(model.name).inc(fresh)
            self._newest[model.name] = loaded

    def _added(self, key: tuple[str, str, int]) -> Numbers:
        name, version, status = key
        added = (
            self._requests.labels(name, version, str(status)),
            self._seconds.labels(name, version),
            self._rows.labels(name, version),
            self._errors.labels(name, version),
        )
        self._children[key] = added
        return added
