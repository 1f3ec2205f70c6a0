"""What a replica of an endpoint counts of one route."""

from __future__ import annotations

import logging
from collections import deque

from prefect_ml.entities import RouteReport
from prefect_ml.registry.traffic import add_predictions, bucket_of_seconds
from prefect_ml.serving.held import Held
from prefect_ml.serving.predicted import predictions_of

_log = logging.getLogger("prefect_ml.serving")
# Answers between two reports whose predictions are looked at, rows of each, and the bytes of one that is not too long.
_ANSWERS = 200
_ROWS = 200
_LONGEST_ANSWER = 1_000_000
# Bytes of answers that wait for the next report.
_MOST_BYTES = 16 << 20


class Tally:
    """Counts of one route since its revision answers.

    The event loop counts, and one other thread reports: what takes time is left to the latter.
    """

    def __init__(self, uri: str, name: str, version: int, generation: int) -> None:
        self._about = (uri, name, version, generation)
        self._requests = 0
        self._errors = 0
        self._seconds: dict[str, int] = {}
        self._predictions: dict[str, int] = {}
        self._answers: deque[tuple[bytes, str]] = deque()
        self._held = Held(_MOST_BYTES)
        self.compared = 0
        self.differing = 0

    def count(self, seconds: float, answer: bytes | None, form: str = "") -> None:
        """Count a request.

        Args:
            seconds: that it took.
            answer: its body, None when the request was not answered 200.
            form: of the answer; see `form_of`.
        """
        self._requests += 1
        if answer is None:
            self._errors += 1
            return
        bucket = bucket_of_seconds(seconds)
        self._seconds[bucket] = self._seconds.get(bucket, 0) + 1
        if len(answer) <= _LONGEST_ANSWER and len(self._answers) < _ANSWERS and self._held.take(len(answer)):
            self._answers.append((answer, form))

    def report(self) -> RouteReport:
        """All that was counted; called in one thread at a time."""
        uri, name, version, generation = self._about
        for _ in range(len(self._answers)):
            answer, form = self._answers.popleft()
            self._held.give_back(len(answer))
            try:
                add_predictions(self._predictions, predictions_of(answer, form, _ROWS))
            except Exception:  # noqa: BLE001  whatever a model says, what was counted besides is reported
                _log.exception("What %s predicts cannot be counted", uri)
        return RouteReport(
            uri=uri,
            name=name,
            version=version,
            generation=generation,
            requests=self._requests,
            errors=self._errors,
            seconds=dict(self._seconds),
            predictions=dict(self._predictions),
            compared=self.compared,
            differing=self.differing,
        )
