"""What a gate is, and what it looks at: the candidate of one promotion beside the champion."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from prefect_ml.entities import ModelVersion, Run
from prefect_ml.errors import NotFoundError
from prefect_ml.models.folder import LoadedModel
from prefect_ml.models.mlmodel import ModelInfo, read_info
from prefect_ml.registry.resolve import ResolvedModel, fetch, load_resolved, resolve
from prefect_ml.settings import Settings
from prefect_ml.store.contract import Store

GateName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")]
Text = Annotated[str, Field(min_length=1, max_length=250)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Verdict(NamedTuple):
    """Whether a gate passed, the sentence that says why, and the JSON-able facts that it rests on."""

    passed: bool
    summary: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """A model version under judgement; what is expensive is fetched once, when first asked for."""

    store: Store
    version: ModelVersion
    settings: Settings

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
        return fetch(self.resolved, self.settings.cache_folder)

    @functools.cached_property
    def info(self) -> ModelInfo:
        return read_info(self.folder)

    @functools.cached_property
    def model(self) -> LoadedModel:
        """The model, loaded with no more trust than the operator's settings give its origin."""
        return load_resolved(self.resolved, self.settings)


@dataclass(frozen=True)
class Candidate:
    """The version that asks for the alias, and the one that holds it (None when nobody does)."""

    alias: str
    subject: Subject
    champion: Subject | None
    generation: int

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
    """A gate's specification; each kind adds `type`, a default `name` and what it needs."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: GateName

    def judge(self, candidate: Candidate) -> Verdict:
        """Look at the candidate. What it raises counts as a failed gate."""
        raise NotImplementedError


def metric_of(subject: Subject, key: str) -> tuple[float | None, str]:
    """A metric's latest value on the run of a version, or None and the words that say what is missing."""
    who = f"version {subject.version.version}"
    if subject.run is None:
        return (
            None,
            f"{who} has no run, so it has no metric {key!r}; register it from the run that evaluated it",
        )
    value = subject.run.metrics.get(key)
    if value is None:
        return None, f"the run {subject.run.run_id} of {who} has no metric {key!r}; log it there"
    if math.isnan(value):
        return None, f"the metric {key!r} of {who} is NaN, which compares with nothing"
    return value, ""
