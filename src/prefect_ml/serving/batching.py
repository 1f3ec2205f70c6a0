"""Predicting on the rows of several requests at once, where requests come faster than one after the other.

A request that comes alone is predicted at once. One that comes while others are predicted waits for them, or until
enough rows wait, or for the time that the operator allows: whichever is first. So there is no delay without load, and
under load as many rows at a time as have come meanwhile.

A model must predict each row from that row alone, as nearly all do. One that does not give an answer for each row is
asked by one request at a time, as is every request of a batch that fails: an error reaches only whose rows caused it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import PrefectMLError
from prefect_ml.http.refusal import RefusedError
from prefect_ml.models.infer import data_kind
from prefect_ml.serving.rows import count_rows

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from prometheus_client import Histogram

    from prefect_ml.http.lanes import Lane
    from prefect_ml.serving.replica import Replica


@dataclass(slots=True)
class _Waiting:
    data: Any
    rows: int
    answer: asyncio.Future[Any]


@dataclass(slots=True)
class _Group:
    """The requests to one replica."""

    replica: Replica
    waiting: list[_Waiting] = field(default_factory=list)
    running: int = 0
    timer: asyncio.TimerHandle | None = None


class Batcher:
    """Gathers the requests to a model; lives on one event loop.

    Args:
        lane: the threads that predict.
        rows: so many are predicted at a time, unless one request has more.
        wait: seconds that a request waits for others at most, and only while others are predicted.
        waiting: requests that may wait; one more is refused.
        sizes: told the requests of each batch.
    """

    def __init__(self, lane: Lane, *, rows: int, wait: float, waiting: int, sizes: Histogram) -> None:
        self._lane = lane
        self._rows = rows
        self._wait = wait
        self._most_waiting = waiting
        self._sizes = sizes
        self._groups: dict[int, _Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def predict(self, replica: Replica, data: Any) -> Any:
        """What the model predicts for data that fits its signature.

        Raises:
            ModelFailedError: the model failed on these data.
            RefusedError: 503, as many requests wait as may.
        """
        group = self._groups.setdefault(id(replica), _Group(replica))
        if len(group.waiting) >= self._most_waiting:
            raise RefusedError(
                503,
                "TEMPORARILY_UNAVAILABLE",
                f"{len(group.waiting)} requests wait to be predicted already; try again in a second.",
                {"Retry-After": "1"},
            )
        loop = asyncio.get_running_loop()
        item = _Waiting(data, count_rows(data), loop.create_future())
        group.waiting.append(item)
        if not group.running or sum(each.rows for each in group.waiting) >= self._rows:
            self._start(group)
        elif group.timer is None:
            group.timer = loop.call_later(self._wait, self._start, group)
        return await item.answer

    def _start(self, group: _Group) -> None:
        """Predict on what waits, up to the number of rows, the first at any rate."""
        if group.timer is not None:
            group.timer.cancel()
            group.timer = None
        batch: list[_Waiting] = []
        rows = 0
        while group.waiting and (not batch or rows + group.waiting[0].rows <= self._rows):
            item = group.waiting.pop(0)
            if not item.answer.cancelled():
                batch.append(item)
                rows += item.rows
        if batch:
            group.running += 1
            task = asyncio.get_running_loop().create_task(self._run(group, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if group.waiting:
            group.timer = asyncio.get_running_loop().call_later(self._wait, self._start, group)
        elif not group.running:
            # Everybody who waited is gone; kept, it would keep a model that was replaced.
            self._groups.pop(id(group.replica), None)

    async def _run(self, group: _Group, batch: list[_Waiting]) -> None:
        self._sizes.observe(len(batch))
        try:
            answers = await self._lane.run(predict_together, group.replica, [item.data for item in batch])
        except BaseException as error:  # noqa: BLE001  whatever it is belongs to those who wait
            answers = [error] * len(batch)
        for item, answer in zip(batch, answers, strict=True):
            if item.answer.done():
                continue
            if isinstance(answer, BaseException):
                item.answer.set_exception(answer)
            else:
                item.answer.set_result(answer)
        group.running -= 1
        if group.waiting:
            self._start(group)
        elif not group.running:
            self._groups.pop(id(group.replica), None)


def predict_together(replica: Replica, datas: Sequence[Any]) -> list[Any]:
    """What a model predicts for each of several data, or the error that each causes, in their order."""
    answers: list[Any] = [None] * len(datas)
    alike: dict[Hashable, list[int]] = {}
    for at, data in enumerate(datas):
        alike.setdefault(_likeness(data, at), []).append(at)
    for places in alike.values():
        predicted = _at_once(replica, [datas[at] for at in places]) if len(places) > 1 else None
        if predicted is None:
            predicted = [_alone(replica, datas[at]) for at in places]
        for at, prediction in zip(places, predicted, strict=True):
            answers[at] = prediction
    return answers


def _likeness(data: Any, at: int) -> Hashable:
    """What data have in common that can lie below each other; their own place when they can lie below none."""
    kind = data_kind(data)
    if kind == "array" and data.ndim:
        return ("array", data.dtype.str, data.shape[1:])
    if kind == "frame" and type(data.index).__name__ == "RangeIndex":
        return ("frame", tuple(data.columns), tuple(map(str, data.dtypes)))
    return at


def _at_once(replica: Replica, datas: Sequence[Any]) -> list[Any] | None:
    """The predictions for each; None when they cannot be made or told apart."""
    lengths = [len(data) for data in datas]
    try:
        predictions = replica.predict_fitted(_stacked(datas))
    except Exception:  # noqa: BLE001  each is asked alone then, and has its own error
        return None
    return _parts(predictions, lengths)


def _alone(replica: Replica, data: Any) -> Any:
    try:
        return replica.predict_fitted(data)
    except PrefectMLError as error:
        return error


def _stacked(datas: Sequence[Any]) -> Any:
    if data_kind(datas[0]) == "array":
        import numpy as np  # noqa: PLC0415  its arrays are here already

        return np.concatenate(datas)
    import pandas as pd  # noqa: PLC0415  as above

    return pd.concat(datas, ignore_index=True)


def _parts(predictions: Any, lengths: Sequence[int]) -> list[Any] | None:
    """Predictions for all rows as those of each request; None when there is not one for each row."""
    if isinstance(predictions, dict):
        by_key = {key: _parts(values, lengths) for key, values in predictions.items()}
        if not by_key or None in by_key.values():
            return None
        return [{key: parts[at] for key, parts in by_key.items() if parts} for at in range(len(lengths))]
    kind = data_kind(predictions)
    if not isinstance(predictions, list) and not kind:
        return None
    if (kind == "array" and not predictions.ndim) or len(predictions) != sum(lengths):
        return None
    parts, begin = [], 0
    for length in lengths:
        if kind in ("frame", "series"):
            parts.append(predictions.iloc[begin : begin + length].reset_index(drop=True))
        else:
            parts.append(predictions[begin : begin + length])
        begin += length
    return parts
