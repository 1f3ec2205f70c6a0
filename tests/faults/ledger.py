"""What training processes called and what was acknowledged to them, and what of that a store has.

A training process writes a line before each call and one after it returned, unbuffered. So the checker knows
three kinds of calls: acknowledged ones, which must be in the store whole and once; the one of each thread that
was under way, which must be there whole or not at all; and those never made, of which there must be nothing.
"""

from __future__ import annotations

import collections
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prefect_ml.store.contract import Store

STEPS_PER_WORKER = 10_000_000


class Call(NamedTuple):
    """A call and whether it returned; `number` counts the calls of one worker."""

    worker: int
    number: int
    kind: str
    content: dict[str, Any]
    acknowledged: bool

    @property
    def step(self) -> int:
        return self.worker * STEPS_PER_WORKER + self.number


class Ledger:
    """Where a training process writes its calls; "-" is its standard output."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = 1 if path == "-" else os.open(path, flags, 0o600)

    def write(self, *line: object) -> None:
        os.write(self._file, orjson.dumps(line) + b"\n")


@dataclass
class Account:
    """What the ledgers of one run say."""

    calls: dict[tuple[int, int], Call] = field(default_factory=dict)
    started: bool = False
    warnings: list[tuple[str, int]] = field(default_factory=list)

    def warned(self, words: str) -> list[int]:
        """How many calls had been acknowledged at each warning with these words."""
        return [count for text, count in self.warnings if words in text]

    @property
    def acknowledged(self) -> list[Call]:
        return [call for call in self.calls.values() if call.acknowledged]


def accounts(ledgers: Iterable[Path | bytes]) -> dict[str, Account]:
    """The account of each run; a last line that a kill cut off says nothing."""
    found: dict[str, Account] = collections.defaultdict(Account)
    for ledger in ledgers:
        data = ledger if isinstance(ledger, bytes) else ledger.read_bytes()
        for line in data.split(b"\n")[:-1]:
            kind, run_id, *rest = orjson.loads(line)
            account = found[run_id]
            if kind == "call":
                worker, number, what, content = rest
                account.calls[worker, number] = Call(worker, number, what, content, acknowledged=False)
            elif kind == "done":
                key = (rest[0], rest[1])
                account.calls[key] = account.calls[key]._replace(acknowledged=True)
            elif kind == "started":
                account.started = True
            else:
                account.warnings.append((rest[0], len(account.acknowledged)))
    return dict(found)


@dataclass
class Verdict:
    """What is wrong, in words; nothing when all four are empty."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    half: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> dict[str, list[str]]:
        kinds = {"lost": self.lost, "doubled": self.doubled, "half": self.half, "unknown": self.unknown}
        return {kind: found[:5] for kind, found in kinds.items() if found}


def check(store: Store, found: dict[str, Account]) -> Verdict:
    """Compare the accounts of runs with what a store has of them."""
    from prefect_ml.errors import NotFoundError

    verdict = Verdict()
    for run_id, account in found.items():
        try:
            run = store.get_run(run_id)
        except NotFoundError:
            if account.started or account.acknowledged:
                verdict.lost.append(f"run {run_id} with {len(account.acknowledged)} acknowledged calls")
            continue
        _Shelf(store, run).compare(account, verdict)
    return verdict


class _Shelf:
    """All that a store has of one run, by call."""

    def __init__(self, store: Store, run: Any) -> None:
        self.run = run
        self.points: dict[tuple[int, str], list[float]] = collections.defaultdict(list)
        for key in run.metrics:
            for point in _history(store, run.run_id, key):
                self.points[point.step, key].append(point.value)
        self.artifacts = {path.relative_to(run.artifact_uri).as_posix(): path for path in _files(run.artifact_uri)}

    def compare(self, account: Account, verdict: Verdict) -> None:
        explained: set[tuple[int, str]] = set()
        for call in account.calls.values():
            name = f"{call.kind} {call.number} of worker {call.worker} in run {self.run.run_id}"
            present = [self._has(call, key, value, name, verdict) for key, value in call.content.items()]
            if any(present) and not all(present):
                verdict.half.append(name)
            elif call.acknowledged and not all(present):
                verdict.lost.append(name)
            explained |= {(call.step, key) for key in call.content if call.kind == "metrics"}
        verdict.unknown += [f"point {point} of run {self.run.run_id}" for point in self.points.keys() - explained]
        self._compare_last_tags(account, verdict)

    def _has(self, call: Call, key: str, value: Any, name: str, verdict: Verdict) -> bool:
        if call.kind == "metrics":
            stored = self.points.get((call.step, key), [])
            if len(stored) > 1:
                verdict.doubled.append(f"{key} of {name}")
            return value in stored
        if call.kind == "artifact":
            path = self.artifacts.get(key)
            if path is None:
                return False
            if path.read_text() != value * REPEATED:
                verdict.half.append(f"{key} of {name}")
            return True
        if call.kind == "notes":
            return bool(self.run.tags.get(key) == value * REPEATED)
        return bool((self.run.params if call.kind == "params" else self.run.tags).get(key) == value)

    def _compare_last_tags(self, account: Account, verdict: Verdict) -> None:
        """A tag that every call sets again has the value of the last one."""
        for worker in {call.worker for call in account.calls.values()}:
            numbers = [call for call in account.calls.values() if call.worker == worker and call.kind == "tags"]
            done = max((call.number for call in numbers if call.acknowledged), default=-1)
            allowed = {str(call.number) for call in numbers if call.number >= done}
            if done >= 0 and self.run.tags.get(last_tag(worker)) not in allowed:
                verdict.lost.append(f"the last value of tag {last_tag(worker)!r} of run {self.run.run_id}")


# The text of an artifact or a note is this often its line, which alone stands in the ledger.
REPEATED = 200


def last_tag(worker: int) -> str:
    return f"last_{worker}"


def _history(store: Store, run_id: str, key: str) -> Iterator[Any]:
    token = None
    while True:
        page = store.get_metric_history(run_id, key, max_results=10_000, page_token=token)
        yield from page.items
        if (token := page.next_token) is None:
            return


def _files(folder: str) -> list[Path]:
    return [path for path in Path(folder).rglob("*") if path.is_file()]
