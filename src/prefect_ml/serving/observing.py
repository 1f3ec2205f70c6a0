"""Who is told of each answered request: the seam for metrics, the inference log and shadow traffic.

An observer is told on the event loop, after the answer has been handed to the connection, so it must return at once:
what takes time belongs in a thread of its own behind a bounded queue. What it raises is logged and hurts nobody. Where
there is no observer, nothing is made and nothing is called.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

    from prefect_ml.serving.replica import Replica

_log = logging.getLogger("prefect_ml.serving")


@dataclass(slots=True)
class Answered:
    """A request to a model that has been answered. Not to be changed: all observers are told the same one.

    Attributes:
        name: under which the model is served.
        replica: that answered (`replica.version`, `replica.resolved`); None when the request was refused before one
            was picked.
        headers: of the request, names in lower case.
        content_type: of `body`; "application/vnd.kserve.v2" for a request by KServe's protocol.
        body: of the request as it came; empty when it was refused before it was read.
        accept: the media type that the answer was asked in; "" for JSON.
        answer: the body of the answer; empty when `error` is set.
        status: of the answer.
        seconds: from the head of the request until the answer was handed over.
        at: when it was answered, ms since the epoch.
        request_id: of the answer's header `X-Request-ID`.
        rows: that were predicted, where they can be counted, else 0.
        error: why it was refused or failed; None when it was answered 200.
    """

    name: str
    replica: Replica | None
    headers: dict[bytes, bytes]
    content_type: str
    body: bytes
    accept: str
    answer: bytes
    status: int
    seconds: float
    at: int
    request_id: str
    rows: int
    error: Exception | None


class Observer(Protocol):
    """What wants to know of answered requests."""

    def answered(self, request: Answered) -> None:
        """Take note of a request; must return at once, since the event loop waits."""

    def close(self) -> None:
        """Called once, in a thread, when the server has answered its last request: write what is still held.

        What is not done within the setting `serve_drain` is lost.
        """


@runtime_checkable
class Counting(Protocol):
    """An observer that has numbers of its own to tell at `/metrics`."""

    def count_in(self, registry: CollectorRegistry) -> None:
        """Make them in a registry; called once, before the first request."""


class Observers:
    """All observers of one process.

    Attributes:
        each: them; empty when nobody listens, which is looked at before an `Answered` is made.
    """

    def __init__(self, each: Iterable[Observer] = ()) -> None:
        self.each = tuple(each)

    def tell(self, request: Answered) -> None:
        """Tell all of them."""
        for observer in self.each:
            try:
                observer.answered(request)
            except Exception:  # noqa: BLE001  it is logged, and the others go on
                _log.exception("Request %s was answered, and an observer failed on it", request.request_id)

    def close(self) -> None:
        """Have each write what it holds."""
        for observer in self.each:
            try:
                observer.close()
            except Exception:  # noqa: BLE001  it is logged, and the others go on
                _log.exception("An observer could not end well")
