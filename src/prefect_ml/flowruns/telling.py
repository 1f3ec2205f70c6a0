"""Telling Prefect's automations what happened to the registry: the audit log is the outbox.

A row is written in the transaction of the change that it is about. So a change that is committed is told, also when
the process that made it died, and whoever made it: a flow, a command, an MLflow client. Each Prefect server has a
cursor of its own in the store, moved only after that server took the events. So each event is told at least once, in
order, and always under the same id.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Sequence

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.events import Event
from prefect.exceptions import PrefectException

from prefect_ml.entities import AuditEntry
from prefect_ml.errors import StoreUnavailableError
from prefect_ml.flowruns.background import api_url, client_of, do_soon
from prefect_ml.flowruns.events import events_of
from prefect_ml.store.contract import Store
from prefect_ml.store.rows import now

logger = logging.getLogger(__name__)

# Rows that are read, told and ticked off at a time.
_ROWS = 100
_MINUTE = 60_000
# Milliseconds: how old a change may be that a server hears of which is told for the first time, and which is not.
# The first keeps an automation that is made today from acting upon a history of years; the other is how long Prefect
# itself keeps events.
_OLDEST_AT_FIRST = 15 * _MINUTE
_OLDEST = 7 * 24 * 60 * _MINUTE
# The slug of a block type that every server makes for itself, under an id of its own.
_LANDMARK = "secret"
# An event that Prefect does not take as it is, and never will.
_REFUSED = frozenset({400, 413, 422})


def tell_events(store: Store, url: str | None = None) -> int:
    """Post the events of what the audit log gained since this Prefect server was last told.

    Several may do it at once: the ids are the same, and Prefect drops what it has just seen.

    Args:
        store: whose audit log.
        url: of Prefect's API; the one in use here by default.

    Returns:
        How many events were told; 0 where Prefect is not in use.

    Raises:
        StoreUnavailableError: Prefect or the store cannot be reached; the rest is told by the next call.
    """
    url = url or api_url()
    if url is None:
        return 0
    try:
        with client_of(url) as client:
            return _tell(store, client, _cursor_of(url))
    except (httpx.HTTPError, PrefectException) as error:
        raise StoreUnavailableError(
            f"Prefect's API at {url} did not take events of the registry; they are told later: {error}"
        ) from error


def tell_soon(store: Store) -> None:
    """`tell_events` in the background, where Prefect is in use."""
    url = api_url()
    if url is not None:
        do_soon((id(store), url), functools.partial(_tell_there, store, url))


def _tell_there(store: Store, url: str) -> None:
    tell_events(store, url)


def _tell(store: Store, client: SyncPrefectClient, cursor: str) -> int:
    before = store.told_up_to(cursor)
    told, posted = _start(store, before), 0
    if told != before:
        store.set_told(cursor, told)
    while rows := store.audit(after=told, max_results=_ROWS):
        events = [event for row in rows for event in events_of(store, row)]
        _post(client, events)
        told, posted = rows[-1].sequence, posted + len(events)
        store.set_told(cursor, told)
    return posted


def _start(store: Store, told: int) -> int:
    """The row after which telling goes on: what is too old by now is left out."""
    oldest = now() - (_OLDEST if told else _OLDEST_AT_FIRST)
    first = _row_after(store, told)
    if first is None or first.at >= oldest:
        return told
    # Rows are numbered without gaps: find the first that is young enough without reading all of them.
    low, step = first.sequence, 1
    while (row := _row_after(store, low + step - 1)) is not None and row.at < oldest:
        low, step = row.sequence, step * 2
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        row = _row_after(store, middle - 1)
        low, high = (middle, high) if row is not None and row.at < oldest else (low, middle)
    return low


def _row_after(store: Store, sequence: int) -> AuditEntry | None:
    return next(iter(store.audit(after=sequence, max_results=1)), None)


def _post(client: SyncPrefectClient, events: Sequence[Event]) -> None:
    """Post events in order; one that Prefect refuses must not keep the others waiting for ever."""
    if not events:
        return
    try:
        _send(client, events)
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in _REFUSED:
            raise
        if len(events) == 1:
            logger.warning(
                "Prefect refuses the event %s of audit row %s, which is left out: %s",
                events[0].event, events[0].payload["audit_sequence"], error.response.text[:500],
            )  # fmt: skip
            return
        for event in events:
            _post(client, [event])


def _send(client: SyncPrefectClient, events: Sequence[Event]) -> None:
    client.request("POST", "/events", json=[event.model_dump(mode="json") for event in events]).raise_for_status()


@functools.lru_cache(maxsize=8)
def _cursor_of(url: str) -> str:
    """The name of a server's cursor: the same by whatever name the server is reached, and another after a reset."""
    try:
        with client_of(url) as client:
            known = client.request("GET", "/block_types/slug/{slug}", path_params={"slug": _LANDMARK}).json()["id"]
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise
        known = url  # a server that was told to make no block types
    return f"prefect-{hashlib.sha256(str(known).encode()).hexdigest()[:32]}"
