"""What a gate is, and what it looks at: the candidate of one promotion beside the champion."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from prefect_ml.entities import Metric, ModelVersion, Run
from prefect_ml.errors import NotFoundError
from prefect_ml.models.folder import LoadedModel, load_model
from prefect_ml.models.mlmodel import ModelInfo, read_info
from prefect_ml.models.signing import is_trusted, signed_by
from prefect_ml.registry.resolve import ResolvedModel, fetch, fetch_signature, resolve
from prefect_ml.settings import Settings
from prefect_ml.store.contract import Store

GateName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")]
Text = Annotated[str, Field(min_length=1, max_length=250)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
_DAY = 24 * 3600.0
_LATER = ("timeout", "trust")


class Verdict(NamedTuple):
    """Whether a gate passed, the sentence that says why, and the JSON-able facts that it rests on."""

    passed: bool
    summary: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """A model version under judgement; what is expensive is fetched once, when first asked for.

    Attributes:
        store: where the registry is.
        version: the version.
        settings: where copies are kept, and which origins are trusted.
        fetched: its verified model folder, where another process fetched it; the store is not asked then.
    """

    store: Store
    version: ModelVersion
    settings: Settings
    fetched: Path | None = None

    @property
    def uri(self) -> str:
        return f"models:/{self.version.name}/{self.version.version}"

    @functools.cached_property
    def run(self) -> Run | None:
        """The run that made the version, None when it is unknown or gone."""
        if self.version.run_id is None:
            return None
        try:
            return self.store.get_run(self.version.run_id)
        except NotFoundError:
            return None

    @functools.cached_property
    def resolved(self) -> ResolvedModel:
        return resolve(self.store, self.uri)

    @functools.cached_property
    def folder(self) -> Path:
        """A local copy of the model folder, verified against the digest that was registered."""
        if self.fetched:
            return self.fetched
        folder = fetch(self.resolved, self.settings.cache_folder)
        if self.settings.trusted_signers:
            fetch_signature(self.resolved, folder)
        return folder

    @functools.cached_property
    def trusted_origins(self) -> tuple[str, ...]:
        """The origins whose models may run code: the operator's, and this model when a trusted signer signed it."""
        origins, signers = self.settings.trusted_origins, self.settings.trusted_signers
        return (*origins, self.uri) if signers and is_trusted(signed_by(self.folder), signers) else origins

    @functools.cached_property
    def info(self) -> ModelInfo:
        return read_info(self.folder)

    def load(self, *, trust: bool = True) -> LoadedModel:
        """The model, loaded with no more trust than the operator's settings give its origin, and none without `trust`.

        Raises:
            UntrustedModelError: loading would run code that is not trusted.
        """
        trusted = self.trusted_origins if trust else ()
        return load_model(self.folder, origin=self.uri, trusted_origins=trusted, vouched=True)


@dataclass(frozen=True)
class Candidate:
    """The version that asks for the alias, and the one that holds it (None when nobody does).

    Attributes:
        alias: the alias.
        subject: the version that asks for it.
        champion: the version that holds it.
        generation: the alias's; 0 when nobody holds it.
        prepared: what the gate's `prepare` found for its `judge`.
    """

    alias: str
    subject: Subject
    champion: Subject | None
    generation: int
    prepared: Mapping[str, str] = field(default_factory=dict)

    def with_prepared(self, prepared: Mapping[str, str]) -> Candidate:
        """The same candidate for a gate that has prepared something."""
        return dataclasses.replace(self, prepared=prepared)

    @classmethod
    def of(cls, store: Store, name: str, version: int, alias: str, settings: Settings | None = None) -> Candidate:
        """Look both up as they are now.

        Raises:
            NotFoundError: there is no such model or version.
        """
        settings = settings or Settings()
        subject = Subject(store, store.get_model_version(name, version), settings)
        try:
            held = store.get_alias(name, alias)
        except NotFoundError:
            return cls(alias, subject, None, 0)
        champion = Subject(store, store.get_model_version(name, held.version), settings)
        return cls(alias, subject, champion, held.generation)


class GateBase(BaseModel):
    """A gate's specification; each kind adds `type`, a default `name` and what it needs.

    Attributes:
        name: unique within a policy.
        timeout: seconds that it may take; a gate that takes longer has failed.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    # Whether `judge` runs, or reads at length, what is in a model folder: then a process of its own calls it.
    apart: ClassVar[bool] = False

    name: GateName
    timeout: Annotated[float, Field(gt=0, le=_DAY)] = 600.0

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A release without these fields reads what does not use them.
        written: dict[str, Any] = write(self)
        defaults = {key: type(self).model_fields[key].default for key in _LATER if key in type(self).model_fields}
        return {k: v for k, v in written.items() if k not in defaults or v != defaults[k]}

    def prepare(self, candidate: Candidate) -> Mapping[str, str]:  # noqa: ARG002 - the shape of those that fetch
        """What `judge` needs besides the models, fetched where the store is at hand; given on in `prepared`."""
        return {}

    def judge(self, candidate: Candidate) -> Verdict:
        """Look at the candidate. What it raises counts as a failed gate."""
        raise NotImplementedError


def metric_of(subject: Subject, key: str) -> tuple[Metric | None, str]:
    """A metric's latest point on the run of a version, or None and the words that say what is missing."""
    who = f"version {subject.version.version}"
    if subject.run is None:
        return (
            None,
            f"{who} has no run, so it has no metric {key!r}; register it from the run that evaluated it",
        )
    point = next((point for point in subject.run.latest if point.key == key), None)
    if point is None:
        return None, f"the run {subject.run.run_id} of {who} has no metric {key!r}; log it there"
    if math.isnan(point.value):
        return None, f"the metric {key!r} of {who} is NaN, which compares with nothing"
    return point, ""


def point_evidence(subject: Subject, point: Metric | None) -> dict[str, Any] | None:
    """The point that a verdict rests on, so that what is logged later cannot be taken for it."""
    if point is None or subject.run is None:
        return None
    return {"run_id": subject.run.run_id, "step": point.step, "timestamp": point.timestamp, "value": point.value}
