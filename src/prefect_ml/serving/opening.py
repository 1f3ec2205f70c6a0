"""From what is asked for to what is served: each model is resolved, loaded and warmed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from prefect_ml.models.uri import ModelUri, UriKind
from prefect_ml.registry.resolve import ResolvedModel, resolve
from prefect_ml.serving.endpoint import ServedEndpoint
from prefect_ml.serving.follow import Follower, Served
from prefect_ml.serving.picking import FollowedModel, ServedModel, ServedModels
from prefect_ml.serving.replica import load_replica
from prefect_ml.serving.wanted import ENDPOINT
from prefect_ml.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prefect_ml.serving.wanted import Wanted
    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store

_FOLLOWED = (UriKind.ALIAS, UriKind.STAGE, UriKind.LATEST)


@contextlib.contextmanager
def opened_models(wanted: Sequence[Wanted], settings: Settings, url: str = "") -> Iterator[ServedModels]:
    """All of them, loaded, with the store that they are followed in open; folders alone need none.

    Args:
        wanted: what is to be served.
        settings: of this process.
        url: where it answers, for those who read of an endpoint's replicas.

    Raises:
        NotFoundError: there is no such model.
        PrefectMLError: one cannot be fetched or loaded, or fails on its own input example.
    """
    with _store_of(wanted, settings) as store:
        opened: list[ServedModel] = []
        try:
            opened += (open_model(each, settings, store, url) for each in wanted)
            yield ServedModels(opened)
        except BaseException:
            # What never came to serve is on no list of replicas, where a rollout would wait for it.
            for each in opened:
                each.stop()
            raise


def open_model(wanted: Wanted, settings: Settings, store: Store | None, url: str = "") -> ServedModel:
    """What answers under one name; the store is None where all that is served are folders."""
    if store is not None and wanted.uri.startswith(ENDPOINT):
        return ServedEndpoint(wanted.name, wanted.uri.removeprefix(ENDPOINT), store, settings, url)
    uri = ModelUri.parse(wanted.uri)
    if store is None or uri.kind is UriKind.FOLDER:
        resolved = ResolvedModel(uri=str(uri), source=str(uri))
        return FollowedModel(wanted.name, Served(load_replica(resolved, settings)), None)
    served = Served(load_replica(resolve(store, wanted.uri), settings))
    follower = Follower(served, store, settings) if uri.kind in _FOLLOWED else None
    return FollowedModel(wanted.name, served, follower)


@contextlib.contextmanager
def _store_of(wanted: Sequence[Wanted], settings: Settings) -> Iterator[Store | None]:
    if all(_is_folder(each.uri) for each in wanted):
        yield None
        return
    with contextlib.closing(open_store(settings.resolved_store_url)) as store:
        yield store


def _is_folder(uri: str) -> bool:
    return not uri.startswith(ENDPOINT) and ModelUri.parse(uri).kind is UriKind.FOLDER
