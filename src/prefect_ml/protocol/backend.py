"""What the routes work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from prefect_ml.errors import WouldWaitError
from prefect_ml.protocol.webhook_calls import WebhookCalls
from prefect_ml.settings import Settings
from prefect_ml.store.calls import KeyedStore
from prefect_ml.store.webhook_contract import WebhookStore

if TYPE_CHECKING:
    from prefect_ml.artifacts import ArtifactStore


class ServedStore(KeyedStore, WebhookStore, Protocol):
    """A store whose calls may be repeated, with the webhooks that its server calls."""


Outcome = tuple[Any, BaseException | None]
AtOnce = Callable[[Sequence[Callable[[], Any]]], list[Outcome]]


def _never(_: Sequence[Callable[[], Any]]) -> list[Outcome]:
    """Every write may have to wait."""
    raise WouldWaitError


@dataclass(frozen=True, slots=True)
class Backend:
    """The store and the artifacts of a server.

    Attributes:
        store: of everything that is no file.
        artifacts: everything below the server's artifact root, which clients know as `mlflow-artifacts:/`.
        at_once: what comes of each of several calls, their writes committed together; `WouldWaitError` where they would
            have to wait.
        webhook_calls: calls webhooks, by default as the environment's settings allow.
    """

    store: ServedStore
    artifacts: ArtifactStore
    at_once: AtOnce = _never
    webhook_calls: WebhookCalls = field(default_factory=lambda: WebhookCalls(Settings()))
