"""What the records of a journal say, and how many of them become few batches.

Each record is a JSON array whose first item is its kind: `start`, `param`, `tag`, `metric`, `end`, or
`leave` when a process ends before its run does. JSON has no NaN and no infinity: those values are kept as
text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.entities import Metric, RunBatch, RunEnd, RunStart, RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

START, PARAM, TAG, METRIC, END, LEAVE = "start", "param", "tag", "metric", "end", "leave"


def metrics_record(values: Mapping[str, float], step: int, timestamp: int) -> bytes:
    kept = {key: value if math.isfinite(value) else repr(value) for key, value in values.items()}
    return orjson.dumps((METRIC, timestamp, step, kept))


def params_record(values: Mapping[str, str]) -> bytes:
    return orjson.dumps((PARAM, values))


def tags_record(values: Mapping[str, str]) -> bytes:
    return orjson.dumps((TAG, values))


def start_record(start: RunStart) -> bytes:
    return orjson.dumps((START, start.experiment, start.name, start.user_id, start.start_time, dict(start.tags)))


def end_record(end: RunEnd) -> bytes:
    return orjson.dumps((END, end.status, end.end_time))


def leave_record() -> bytes:
    return orjson.dumps((LEAVE,))


def died(records: list[bytes]) -> bool:
    """Whether these are all records of a process that started a run and ended without a word."""
    if not records:
        return False
    first, last = orjson.loads(records[0])[0], orjson.loads(records[-1])[0]
    return bool(first == START and last not in (END, LEAVE))


def batches(run_id: str, records: Iterable[bytes]) -> list[RunBatch]:
    """The same run in as few batches as keep the order of what contradicts each other."""
    found: list[_Gathered] = []
    for record in records:
        kind, *content = orjson.loads(record)
        if kind == LEAVE:
            continue
        if not found or not found[-1].takes(kind, content):
            found.append(_Gathered())
        found[-1].add(kind, content)
    return [gathered.batch(run_id) for gathered in found]


@dataclass(slots=True)
class _Gathered:
    """A batch in the making; a store applies it in the order start, params, tags, metrics, end."""

    start: RunStart | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    end: RunEnd | None = None

    def takes(self, kind: str, content: list[Any]) -> bool:
        if self.end is not None:
            return False
        if kind == START:
            return not (self.start or self.params or self.tags or self.metrics)
        if kind == PARAM:
            return all(self.params.get(key, value) == value for key, value in content[0].items())
        return True

    def add(self, kind: str, content: list[Any]) -> None:
        if kind == METRIC:
            timestamp, step, values = content
            self.metrics += [Metric(key, float(value), timestamp, step) for key, value in values.items()]
        elif kind == PARAM:
            self.params |= content[0]
        elif kind == TAG:
            self.tags |= content[0]
        elif kind == START:
            self.start = RunStart(*content)
        else:
            status, end_time = content
            self.end = RunEnd(RunStatus(status), end_time)

    def batch(self, run_id: str) -> RunBatch:
        return RunBatch(run_id, self.start, self.params, self.tags, self.metrics, self.end)
