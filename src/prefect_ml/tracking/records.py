"""What the records of a journal say, and how many of them become few batches.

Each record is a JSON array whose first item is its kind: `start`, `source`, `param`, `tag`, `metric`, `input`,
`names` (artifacts and models by name), `end`, or `leave` when a process ends before its run does. What recorded it
stands last, as the number that a `source` record before it gave, 0 when unknown. JSON has no NaN and no infinity: those
values are kept as text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from prefect_ml.entities import (
    Attempt,
    Dataset,
    DatasetInput,
    Metric,
    Recorded,
    RunBatch,
    RunEnd,
    RunStart,
    RunStatus,
    Source,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

START, SOURCE, PARAM, TAG, METRIC, INPUT, NAMES, END, LEAVE = (
    "start", "source", "param", "tag", "metric", "input", "names", "end", "leave",
)  # fmt: skip


def metric_record(key: str, value: float, step: int, timestamp: int, source: int = 0) -> bytes:
    return orjson.dumps((METRIC, timestamp, step, {key: value if math.isfinite(value) else repr(value)}, source))


def metrics_record(values: Mapping[str, float], step: int, timestamp: int, source: int = 0) -> bytes:
    kept = {key: value if math.isfinite(value) else repr(value) for key, value in values.items()}
    return orjson.dumps((METRIC, timestamp, step, kept, source))


def params_record(values: Mapping[str, str], source: int = 0) -> bytes:
    return orjson.dumps((PARAM, values, source))


def tags_record(values: Mapping[str, str], source: int = 0) -> bytes:
    return orjson.dumps((TAG, values, source))


def input_record(given: DatasetInput, source: int = 0) -> bytes:
    of = given.dataset
    facts = (of.name, of.digest, of.source_type, of.source, of.schema, of.profile)
    return orjson.dumps((INPUT, facts, dict(given.tags), source))


def names_record(kind: str, names: Sequence[str], source: int) -> bytes:
    """That a source recorded what the journal does not hold itself."""
    return orjson.dumps((NAMES, {kind: names}, source))


def source_record(number: int, source: Source) -> bytes:
    return orjson.dumps((SOURCE, number, tuple(source)))


def start_record(start: RunStart) -> bytes:
    attempt = start.attempt
    kept = attempt and (attempt.attempt_id, attempt.number, attempt.start_time, attempt.host, attempt.pid)
    return orjson.dumps((START, start.experiment, start.name, start.user_id, start.start_time, dict(start.tags), kept))


def is_start(record: bytes) -> bool:
    """Whether a record starts the run."""
    return record.startswith(orjson.dumps((START,))[:-1] + b",")


def end_record(end: RunEnd) -> bytes:
    return orjson.dumps((END, end.status, end.end_time, end.attempt_id, end.number))


def leave_record() -> bytes:
    return orjson.dumps((LEAVE,))


def read_start(run_id: str, content: Sequence[Any]) -> RunStart:
    experiment, name, user_id, start_time, tags, kept = content
    attempt = None
    if kept is not None:
        attempt_id, number, started, host, pid = kept
        attempt = Attempt(run_id, attempt_id, number, started, host=host, pid=pid)
    return RunStart(experiment, name, user_id, start_time, tags, attempt)


class Dead(NamedTuple):
    """An attempt whose process ended without a word.

    Attributes:
        attempt: as it started.
        last_time: the latest time in ms that its metrics tell, 0 when there are none.
    """

    attempt: Attempt
    last_time: int


def died(run_id: str, records: Iterable[bytes]) -> Dead | None:
    """The attempt that the records of a journal start when they end without a word."""
    attempt, kind, last_time = None, "", 0
    for record in records:
        kind, *content = orjson.loads(record)
        if kind == START:
            attempt = read_start(run_id, content).attempt
        elif kind == METRIC:
            last_time = int(content[0])
    return Dead(attempt, last_time) if attempt is not None and kind not in (END, LEAVE) else None


def sources_of(records: Iterable[bytes]) -> dict[int, Source]:
    """The sources that records name, by number."""
    start = orjson.dumps((SOURCE,))[:-1]
    named = (orjson.loads(record) for record in records if record.startswith(start))
    return {number: Source(*source) for _, number, source in named}


def batches(run_id: str, records: Iterable[bytes], sources: dict[int, Source] | None = None) -> list[RunBatch]:
    """The same run in as few batches as keep the order of what contradicts each other.

    Args:
        run_id: the run.
        records: of one journal.
        sources: those that earlier records named, by number; those that these name are added.
    """
    known = {} if sources is None else sources
    found: list[_Gathered] = []
    for record in records:
        kind, *content = orjson.loads(record)
        if kind == LEAVE:
            continue
        if kind == SOURCE:
            known[content[0]] = Source(*content[1])
            continue
        if not found or not found[-1].takes(kind, content):
            found.append(_Gathered(run_id))
        found[-1].add(kind, content)
    return [gathered.batch(known) for gathered in found]


@dataclass(slots=True)
class _Gathered:
    """A batch in the making; a store applies it in the order start, params, tags, metrics, inputs, end."""

    run_id: str
    start: RunStart | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[int, list[Metric]] = field(default_factory=dict)
    names: dict[int, dict[str, dict[str, None]]] = field(default_factory=dict)
    inputs: list[DatasetInput] = field(default_factory=list)
    end: RunEnd | None = None

    def takes(self, kind: str, content: list[Any]) -> bool:
        if self.end is not None:
            return False
        if kind == START:
            return not (self.start or self.params or self.tags or self.metrics or self.names or self.inputs)
        if kind == PARAM:
            return all(self.params.get(key, value) == value for key, value in content[0].items())
        return True

    def add(self, kind: str, content: list[Any]) -> None:
        if kind == METRIC:
            timestamp, step, values, source = content
            points = self.metrics.setdefault(source, [])
            points += [Metric(key, float(value), timestamp, step) for key, value in values.items()]
        elif kind == PARAM:
            self.params |= content[0]
            self._name({"param": content[0]}, content[1])
        elif kind == TAG:
            self.tags |= content[0]
            self._name({"tag": content[0]}, content[1])
        elif kind == INPUT:
            facts, tags, source = content
            self.inputs.append(DatasetInput(Dataset(*facts), tags))
            self._name({"input": facts[:1]}, source)
        elif kind == NAMES:
            self._name(*content)
        elif kind == START:
            self.start = read_start(self.run_id, content)
        else:
            status, *rest = content
            self.end = RunEnd(RunStatus(status), *rest)

    def _name(self, names: Mapping[str, Iterable[str]], source: int) -> None:
        if source:
            kinds = self.names.setdefault(source, {})
            for kind, found in names.items():
                kinds.setdefault(kind, {}).update(dict.fromkeys(found))

    def batch(self, sources: Mapping[int, Source]) -> RunBatch:
        plain = [point for number, points in self.metrics.items() if number not in sources for point in points]
        recorded = [
            Recorded(
                sources[number],
                self.metrics.get(number, []),
                {kind: list(names) for kind, names in self.names.get(number, {}).items()},
            )
            for number in sorted({*self.metrics, *self.names} & sources.keys())
        ]
        return RunBatch(self.run_id, self.start, self.params, self.tags, plain, self.end, recorded, self.inputs)
