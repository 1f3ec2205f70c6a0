"""Telling webhooks what the store's outbox has for them: a thread of each server process.

What a process had taken up when it died is due again when its lease is over, so every change is told at least once,
always under the same delivery id.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from prefect_ml.entities import DeliveryStatus
from prefect_ml.protocol.webhook_calls import CallAnswer, CallFailedError
from prefect_ml.store.rows import now

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prefect_ml.entities import Delivery, Webhook
    from prefect_ml.protocol.backend import Backend
    from prefect_ml.settings import Settings

_log = logging.getLogger("prefect_ml.server.webhooks")

# Calls that a process makes at a time, and threads that look up names for them and ask the store: more, since a
# look-up cannot be ended when its call's time is over.
_AT_ONCE = 16
_THREADS = 64
# Seconds: between two looks at the outbox, between the first two attempts, and the most between any two.
_POLL = 0.5
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 3600.0
# Seconds that a claim outlasts the longest call, for the store to be told.
_MARGIN = 5.0
_DAY = 24 * 3600.0
# Seconds after which a delivery is not tried again, and seconds that one which is settled is kept.
_MAX_AGE = _DAY
_KEPT = {DeliveryStatus.DELIVERED: 7 * _DAY, DeliveryStatus.GIVEN_UP: 30 * _DAY}
_PRUNED_EVERY = 3600.0

_SUCCESS, _REDIRECT, _FAILURE = 2, 3, 5
_RETRIED = frozenset({408, 425, 429})


@contextlib.contextmanager
def delivering(backend: Backend, settings: Settings) -> Iterator[None]:
    """Within, a thread delivers; at the end it is waited for, for as long as a call may take."""
    deliverer = Deliverer(backend, settings)
    thread = threading.Thread(target=deliverer.run, name="prefect-ml-webhooks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        deliverer.stop()
        thread.join(settings.webhook_timeout + _MARGIN)


class Deliverer:
    """Takes up what is due, calls webhooks, and notes what became of it.

    Args:
        backend: the outbox, and how webhooks are called.
        settings: how often a delivery is tried.
    """

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._store = backend.store
        self._calls = backend.webhook_calls
        self._attempts = settings.webhook_attempts
        self._lease = settings.webhook_timeout + _MARGIN
        self._stopped = threading.Event()
        self._busy: dict[asyncio.Task[None], str] = {}
        self._away = False
        self._prune_at = 0.0

    def run(self) -> None:
        """Deliver until stopped."""
        asyncio.run(self._run())

    def stop(self) -> None:
        """Take up nothing more; the calls that are being made are finished."""
        self._stopped.set()

    async def _run(self) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "prefect-ml-webhooks"))
        done = asyncio.Event()

        def forget(task: asyncio.Task[None]) -> None:
            del self._busy[task]
            done.set()

        async with asyncio.TaskGroup() as calls:
            while not self._stopped.is_set():
                room, busy = _AT_ONCE - len(self._busy), set(self._busy.values())
                for delivery, webhook in await asyncio.to_thread(self._claim, room, busy):
                    task = calls.create_task(self._deliver(delivery, webhook))
                    self._busy[task] = webhook.webhook_id
                    task.add_done_callback(forget)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), _POLL)
                done.clear()

    def _claim(self, room: int, busy: set[str]) -> Sequence[tuple[Delivery, Webhook]]:
        """What is to be delivered now; nothing while the store is away."""
        try:
            self._prune()
            found = self._store.claim_deliveries(room, self._lease, busy=busy) if room else ()
        except Exception as error:  # noqa: BLE001  the thread must outlive whatever the database may say
            if not self._away:
                _log.warning("Webhooks are told of nothing for now: %s", error)
            self._away = True
            return ()
        self._away = False
        return found

    def _prune(self) -> None:
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + _PRUNED_EVERY
        for status, kept in _KEPT.items():
            self._store.prune_deliveries(status, now() - round(1000 * kept))

    async def _deliver(self, delivery: Delivery, webhook: Webhook) -> None:
        """Make one attempt and note what became of it; when that cannot be noted, it is made again later."""
        try:
            outcome: CallAnswer | CallFailedError = await self._calls.send(
                webhook, delivery.payload, delivery.delivery_id
            )
        except CallFailedError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001  a webhook that breaks its call in a new way must not end the others'
            _log.exception("A call of the webhook %s failed unforeseen", webhook.webhook_id)
            outcome = CallFailedError(f"The call failed: {type(error).__name__}.")
        try:
            await asyncio.to_thread(self._settle, delivery, webhook, outcome)
        except Exception as error:  # noqa: BLE001  the thread must outlive whatever the database may say
            _log.warning("The delivery %s will be made again: %s", delivery.delivery_id, error)

    def _settle(self, delivery: Delivery, webhook: Webhook, outcome: CallAnswer | CallFailedError) -> None:
        settle = functools.partial(self._store.settle_delivery, delivery.delivery_id, delivery.attempts)
        if isinstance(outcome, CallAnswer) and outcome.status // 100 == _SUCCESS:
            settle(DeliveryStatus.DELIVERED)
            return
        why = _reason(outcome)
        too_old = now() - delivery.created_at > 1000 * _MAX_AGE
        if _is_final(outcome) or delivery.attempts >= self._attempts or too_old:
            _log.error(
                "The webhook %s (%s) was not told of a change, and will not be: delivery %s, attempt %d: %s",
                webhook.name, webhook.webhook_id, delivery.delivery_id, delivery.attempts, why,
            )  # fmt: skip
            settle(DeliveryStatus.GIVEN_UP, error=why)
        else:
            wait = wait_before(delivery.attempts + 1, outcome.retry_after if isinstance(outcome, CallAnswer) else None)
            settle(DeliveryStatus.PENDING, error=why, next_attempt_at=now() + round(1000 * wait))


def wait_before(attempt: int, retry_after: str | None = None) -> float:
    """Seconds to wait before an attempt (2 for the second): twice as long each time, jittered, an hour at most.

    Args:
        attempt: its number.
        retry_after: what the receiver asked for, as seconds or as a date; waited for at least, if it is not too long.
    """
    longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(attempt - 2, 32))
    wait = longest * random.uniform(0.5, 1.0)  # noqa: S311  spreads calls, hides nothing
    return min(_LONGEST_WAIT, max(wait, _seconds(retry_after)))


def _seconds(retry_after: str | None) -> float:
    given = (retry_after or "").strip()
    if given.isascii() and given.isdigit():
        return float(given[:9])
    try:
        at = parsedate_to_datetime(given)
    except ValueError:
        return 0.0
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp() - time.time()


def _is_final(outcome: CallAnswer | CallFailedError) -> bool:
    if isinstance(outcome, CallFailedError):
        return outcome.final
    return outcome.status not in _RETRIED and outcome.status // 100 != _FAILURE


def _reason(outcome: CallAnswer | CallFailedError) -> str:
    if isinstance(outcome, CallFailedError):
        return str(outcome)
    more = ", and redirects are not followed" if outcome.status // 100 == _REDIRECT else ""
    return f"The receiver answered {outcome.status}{more}."
