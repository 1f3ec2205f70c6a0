"""Shadow traffic: a copy of each answered request goes to versions that answer nobody, and is compared."""

from __future__ import annotations

import logging
import math
import threading
import time
from queue import Full, Queue
from typing import TYPE_CHECKING, Any

from prefect_ml.serving.forms import SCORING
from prefect_ml.serving.held import Held
from prefect_ml.serving.kserve import KSERVE
from prefect_ml.serving.kserve import MEDIA_TYPE as KSERVE_TYPE
from prefect_ml.serving.predicted import form_of, values_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect_ml.serving.observing import Answered
    from prefect_ml.serving.routing import Loaded, Routes

_log = logging.getLogger("prefect_ml.serving")
# Copies that wait; more are left out, since a shadow must never hold up what it shadows.
_WAITING = 100
_WAITING_BYTES = 64 << 20
# Seconds between two lines of the log about differences.
_TOLD_EACH = 10.0
# Numbers that are as near as this are the same: sums are added up in another order by another library.
_RELATIVE, _ABSOLUTE = 1e-6, 1e-9
_ANSWERED = 200


class Shadows:
    """An observer that sends copies to the shadows among an endpoint's routes, in a thread of its own."""

    def __init__(self, routes: Callable[[], Routes | None]) -> None:
        self._routes = routes
        self._copies: Queue[Answered | None] = Queue(_WAITING)
        self._held = Held(_WAITING_BYTES)
        self._left_out = 0
        self._told_at = -math.inf
        self._untold = 0
        self._thread: threading.Thread | None = None
        self._closing = False

    def answered(self, request: Answered) -> None:
        routes = self._routes()
        if routes is None or not routes.shadows or request.status != _ANSWERED or self._closing:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="prefect-ml-shadow", daemon=True)
            self._thread.start()
        if not self._held.take(_size(request)):
            self._left_out += 1
            return
        try:
            self._copies.put_nowait(request)
        except Full:
            self._held.give_back(_size(request))
            self._left_out += 1

    def close(self) -> None:
        """Let the thread end; copies that wait are left out."""
        self._closing = True
        if self._thread is not None:
            while not self._copies.empty():
                self._copies.get()
            self._copies.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (request := self._copies.get()) is not None:
            routes = self._routes()
            for shadow in routes.shadows if routes is not None else ():
                self._send(shadow, request)
            self._held.give_back(_size(request))
            del request, routes  # else the last body stayed in memory until the next one

    def _send(self, shadow: Loaded, request: Answered) -> None:
        began = time.perf_counter()
        form = form_of(request)
        protocol = KSERVE if form == KSERVE_TYPE else SCORING
        try:
            asked = protocol.read(shadow.replica, request.headers, request.body)
            answer = protocol.write(request.name, shadow.replica, asked, shadow.replica.predict(asked)).body
            seconds = time.perf_counter() - began
            same = same_predictions(request.answer, answer, form)
        except Exception as error:  # noqa: BLE001  whatever it does, the request was answered already
            shadow.tally.count(0.0, None)
            self._differs(shadow, request, f"it fails: {type(error).__name__}")
        else:
            shadow.tally.count(seconds, answer, form)
            if not same:
                self._differs(shadow, request, "it predicts something else")
        shadow.tally.compared += 1

    def _differs(self, shadow: Loaded, request: Answered, how: str) -> None:
        """Count a difference, and tell of some; what was asked and answered is nobody's business in a log."""
        shadow.tally.differing += 1
        self._untold += 1
        at = time.monotonic()
        if at - self._told_at < _TOLD_EACH:
            return
        usual = request.replica.version if request.replica is not None else ""
        _log.warning(
            "The shadow %s, version %s, differs from version %s: %s (request %s; %d since the last line, "
            "%d copies left out so far).",
            shadow.route.uri, shadow.replica.version, usual, how, request.request_id, self._untold, self._left_out,
        )  # fmt: skip
        self._told_at, self._untold = at, 0


def _size(request: Answered) -> int:
    return len(request.body) + len(request.answer)


def same_predictions(one: bytes, other: bytes, form: str = "") -> bool:
    """Whether two answers of one form (see `form_of`) predict the same, numbers to six digits."""
    return one == other or _same(values_of(one, form), values_of(other, form))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE) or one == other
    return bool(one == other)
