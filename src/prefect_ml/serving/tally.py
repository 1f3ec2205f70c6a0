"""What a replica of an endpoint counts of one route."""

from __future__ import annotations

from collections import deque
from typing import Any

import orjson

from prefect_ml.entities import RouteReport
from prefect_ml.registry.traffic import add_predictions, bucket_of_seconds

# Answers between two reports whose predictions are looked at, rows of each, and the bytes of one that is not too long.
_ANSWERS = 200
_ROWS = 200
_LONGEST_ANSWER = 1_000_000


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
        self._answers: deque[bytes] = deque(maxlen=_ANSWERS)
        self.compared = 0
        self.differing = 0

    def count(self, seconds: float, answer: bytes | None) -> None:
        """Count a request.

        Args:
            seconds: that it took.
            answer: its body, None when the request was not answered 200.
        """
        self._requests += 1
        if answer is None:
            self._errors += 1
            return
        bucket = bucket_of_seconds(seconds)
        self._seconds[bucket] = self._seconds.get(bucket, 0) + 1
        if len(answer) <= _LONGEST_ANSWER:
            self._answers.append(answer)

    def report(self) -> RouteReport:
        """All that was counted; called in one thread at a time."""
        for _ in range(len(self._answers)):
            add_predictions(self._predictions, predictions_of(self._answers.popleft())[:_ROWS])
        uri, name, version, generation = self._about
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


def predictions_of(answer: bytes) -> list[Any]:
    """The predictions in an answer, one a row; none where it is not JSON or says them otherwise."""
    try:
        content = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return []
    found = content.get("predictions") if isinstance(content, dict) else content
    if isinstance(found, dict):  # one list an output
        found = next(iter(found.values()), None)
    return found if isinstance(found, list) else []
