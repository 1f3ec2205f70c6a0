"""A replica of an endpoint: it answers by the newest revision that it could load, and says so in the store."""

from __future__ import annotations

import logging
import socket
import threading
import uuid
from typing import TYPE_CHECKING, Any

from prefect_ml.entities import EndpointReplica, ReplicaState
from prefect_ml.errors import NotFoundError
from prefect_ml.http.refusal import RefusedError
from prefect_ml.registry.resolve import resolve
from prefect_ml.serving.follow import Problem, moment
from prefect_ml.serving.memory import Leaving
from prefect_ml.serving.predicted import form_of
from prefect_ml.serving.refused import Refused
from prefect_ml.serving.replica import load_replica
from prefect_ml.serving.routing import Loaded, Routes
from prefect_ml.serving.shadow import Shadows
from prefect_ml.serving.wanted import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prefect_ml.entities import Endpoint
    from prefect_ml.registry.resolve import ResolvedModel
    from prefect_ml.serving.observing import Answered, Observer
    from prefect_ml.serving.replica import Replica
    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store

_log = logging.getLogger("prefect_ml.serving")
_ANSWERED = 200


class ServedEndpoint:
    """See `ServedModel`: what answers under the name of an endpoint.

    Args:
        name: under which it is served.
        endpoint: its name in the store.
        store: that it is followed in.
        settings: how often it is looked up, and which models are trusted.
        url: where this process answers, for those who read of it in the store.

    Raises:
        NotFoundError: there is no such endpoint.
        PrefectMLError: a model of its revision cannot be loaded.
    """

    def __init__(self, name: str, endpoint: str, store: Store, settings: Settings, url: str = "") -> None:
        self.name = name
        self.uri = f"{ENDPOINT}{endpoint}"
        self.routes: Routes | None = None
        self._shadows = Shadows(lambda: self.routes)
        self.observers: Sequence[Observer] = (self, self._shadows)
        self._endpoint = endpoint
        self._store = store
        self._settings = settings
        self._url = url
        self._replica_id = uuid.uuid4().hex
        self._wanted = 0
        self._deleted = False
        self._problem: Problem | None = None
        self._unreachable: Problem | None = None
        self._refused = Refused(settings.serve_poll_interval)
        self._leaving = Leaving()
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=f"prefect-ml-endpoint-{what}", daemon=True)
            for what, run in (("follow", self._follow), ("report", self._tell))
        ]
        self._report(ReplicaState.LOADING)
        try:
            self._load(store.get_endpoint(endpoint))
        except BaseException:
            self._forget()
            raise

    def pick(self, headers: Mapping[bytes, bytes], version: str | None) -> Replica:
        routes = self.routes
        if routes is None:
            raise RefusedError(404, "NOT_FOUND", f"The endpoint {self._endpoint!r} was deleted.")
        return routes.pick(headers, version)

    def replicas(self) -> Sequence[Replica]:
        routes = self.routes
        return [each.replica for each in routes.loaded if not each.route.shadow] if routes is not None else ()

    def health(self) -> dict[str, Any]:
        routes, problem = self.routes, self._problem or self._unreachable
        first = routes.loaded[0].replica.resolved if routes is not None else None
        return {
            "status": "ok" if routes is not None else "deleted",
            "model_uri": self.uri,
            "model": first and first.name,
            "version": first and first.version,
            "alias": first and first.alias,
            "generation": first.generation if first is not None else 0,
            "digest": first and first.digest,
            "loaded_at": routes.loaded[0].replica.loaded_at if routes is not None else None,
            "error": problem and problem.message,
            "error_at": problem and problem.at,
            "endpoint": self._endpoint,
            "revision": routes.endpoint.revision if routes is not None else 0,
            "wanted_revision": self._wanted,
            "replica_id": self._replica_id,
            "routes": [
                {"uri": each.route.uri, "version": each.replica.version, "weight": each.route.weight,
                 "shadow": each.route.shadow}
                for each in (routes.loaded if routes is not None else ())
            ],
        }  # fmt: skip

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop following, and leave the store's list of replicas; waits up to 5 s for a model that is being loaded."""
        self._stopping.set()
        self._news.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=5)
        self._forget()

    def answered(self, request: Answered) -> None:
        """Count a request by its route; see `Observer`."""
        routes = self.routes
        if routes is None or request.replica is None:
            return
        tally = routes.tally(request.replica)
        if tally is not None:
            tally.count(request.seconds, request.answer if request.status == _ANSWERED else None, form_of(request))

    def close(self) -> None:
        """Nothing is held back; see `Observer`."""

    def _follow(self) -> None:
        while not self._stopping.wait(self._settings.serve_poll_interval):
            self._look()
            self._leaving.look()

    def _look(self) -> None:
        try:
            endpoint = self._store.get_endpoint(self._endpoint)
            resolved = self._resolved(endpoint)
        except NotFoundError as error:
            self._not_there(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the store, serving goes on
            self._note_unreachable(error)
            return
        self._unreachable = None
        self._wanted = endpoint.revision
        wanted = (endpoint.revision, resolved)
        if self._is_loaded(endpoint, resolved):
            self._problem = None
            self._refused.clear()
        elif self._refused.may_try(wanted):
            self._take_over(endpoint, wanted)

    def _take_over(self, endpoint: Endpoint, wanted: tuple[int, list[ResolvedModel]]) -> None:
        self._news.set()
        before = self.routes
        try:
            self._load(endpoint, wanted[1])
        except Exception as error:  # noqa: BLE001 - a model may fail in any way, and the old ones must go on
            goes_on = f"revision {before.endpoint.revision} goes on" if before is not None else "nothing answers"
            message = f"Revision {endpoint.revision} of {self.uri} is refused, {goes_on}: {error}"
            self._problem = Problem(message, moment())
            news = self._refused.note(wanted)
            _log.error("%s", message, exc_info=error if news else None)
        else:
            self._problem = None
            self._refused.clear()
            _log.info("%s answers by revision %d: %s.", self.uri, endpoint.revision, _shown(self.routes))
            self._dismiss(before)
        self._news.set()

    def _dismiss(self, before: Routes | None) -> None:
        kept = {id(each.replica.model) for each in (self.routes.loaded if self.routes is not None else ())}
        models = {id(each.replica.model): each.replica.model for each in (before.loaded if before is not None else ())}
        for key, model in models.items():
            if key not in kept:
                self._leaving.add(model)

    def _load(self, endpoint: Endpoint, resolved: Sequence[ResolvedModel] | None = None) -> None:
        """Load what a revision needs beside what is there, and put it in force."""
        self._wanted = endpoint.revision
        self._deleted = False
        known = {_files(each.replica.resolved): each.replica for each in (self.routes.loaded if self.routes else ())}
        same = self.routes is not None and self.routes.endpoint.revision == endpoint.revision
        loaded = []
        for route, wanted in zip(endpoint.routes, resolved or self._resolved(endpoint), strict=True):
            there = known.get(_files(wanted)) if wanted.digest else None
            try:
                replica = load_replica(wanted, self._settings) if there is None else there.again_as(wanted)
            except Exception as error:
                if not route.shadow:
                    raise
                _log.exception("The shadow %s of %s is left out: %s", route.uri, self.uri, type(error).__name__)
                continue
            known[_files(replica.resolved)] = replica
            loaded.append(self._counted(Loaded.of(route, replica), anew=not same))
        self.routes = Routes(endpoint, loaded)

    def _counted(self, loaded: Loaded, *, anew: bool) -> Loaded:
        """A route that goes on counting where its revision and its version stay."""
        if anew or self.routes is None:
            return loaded
        for each in self.routes.loaded:
            if each.route == loaded.route and each.replica.resolved == loaded.replica.resolved:
                return each
        return loaded

    def _resolved(self, endpoint: Endpoint) -> list[ResolvedModel]:
        return [resolve(self._store, route.uri) for route in endpoint.routes]

    def _is_loaded(self, endpoint: Endpoint, resolved: Sequence[ResolvedModel]) -> bool:
        if self.routes is None or self.routes.endpoint.revision != endpoint.revision:
            return False
        there = {each.route.uri: each.replica.resolved for each in self.routes.loaded}
        shadows = {route.uri for route in endpoint.routes if route.shadow}
        return all(there.get(each.uri) == each or (each.uri in shadows and each.uri not in there) for each in resolved)

    def _not_there(self, error: NotFoundError) -> None:
        """The endpoint was deleted, or a route of it is gone, while the rest goes on."""
        try:
            self._store.get_endpoint(self._endpoint)
        except NotFoundError:
            if not self._deleted:
                _log.error("The endpoint %s was deleted; requests are refused from now on.", self._endpoint)
            before, self._deleted, self.routes = self.routes, True, None
            self._dismiss(before)
            self._problem = Problem(str(error), moment())
            return
        except Exception as unreachable:  # noqa: BLE001 - as above
            self._note_unreachable(unreachable)
            return
        self._note_unreachable(error)

    def _note_unreachable(self, error: Exception) -> None:
        message = f"{self.uri} cannot be looked up, what is loaded goes on: {error}"
        if self._unreachable is None:
            _log.error("%s", message)
        self._unreachable = Problem(message, moment())

    def _tell(self) -> None:
        """Say in the store how things are: every other look, and at once when they change."""
        away = False
        while not self._stopping.is_set():
            self._news.clear()
            away = not self._report(self._state(), quiet=away)
            self._news.wait(2 * self._settings.serve_poll_interval)

    def _state(self) -> ReplicaState:
        if self._problem is not None or self.routes is None:
            return ReplicaState.FAILED
        return ReplicaState.READY if self.routes.endpoint.revision == self._wanted else ReplicaState.LOADING

    def _report(self, state: ReplicaState, *, quiet: bool = False) -> bool:
        """Whether the store took it."""
        routes, problem = self.routes, self._problem or self._unreachable
        said = EndpointReplica(
            endpoint=self._endpoint,
            replica_id=self._replica_id,
            host=socket.gethostname(),
            url=self._url,
            state=state,
            wanted=self._wanted,
            loaded=routes.endpoint.revision if routes is not None else 0,
            error="" if problem is None else problem.message,
            routes=[each.tally.report() for each in routes.loaded] if routes is not None else (),
        )
        try:
            self._store.report_replica(said)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the store, serving goes on
            if not quiet:
                _log.warning("The store is not told of this replica of %s for now: %s", self.uri, error)
            return False
        return True

    def _forget(self) -> None:
        try:
            self._store.remove_replica(self._endpoint, self._replica_id)
        except Exception as error:  # noqa: BLE001 - it is forgotten by and by
            _log.warning("The store keeps this replica of %s on its list for now: %s", self.uri, error)


def _files(resolved: ResolvedModel) -> tuple[str | None, int | None, str]:
    return resolved.name, resolved.version, resolved.digest


def _shown(routes: Routes | None) -> str:
    found = routes.loaded if routes is not None else ()
    return ", ".join(
        f"version {each.replica.version} of {each.route.name} "
        f"{'as a shadow' if each.route.shadow else f'{each.route.weight:g} %'}"
        for each in found
    )
