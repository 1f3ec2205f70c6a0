"""Registered models and their versions on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired

from typing_extensions import TypedDict

from prefect_ml.entities import ModelVersion, Page, RegisteredModel
from prefect_ml.protocol.answers.common import Pair, pairs


class VersionFields(TypedDict):
    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str
    description: str
    source: str
    run_id: str
    status: str
    run_link: str
    tags: NotRequired[list[Pair]]
    aliases: NotRequired[list[str]]
    model_id: NotRequired[str]


class AliasFields(TypedDict):
    alias: str
    version: str


class ModelFields(TypedDict):
    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: NotRequired[str]
    latest_versions: NotRequired[list[VersionFields]]
    tags: NotRequired[list[Pair]]
    aliases: NotRequired[list[AliasFields]]


class OneModel(TypedDict):
    registered_model: ModelFields


class SomeModels(TypedDict):
    registered_models: NotRequired[list[ModelFields]]
    next_page_token: NotRequired[str]


class OneVersion(TypedDict):
    model_version: VersionFields


class SomeVersions(TypedDict):
    model_versions: NotRequired[list[VersionFields]]
    next_page_token: NotRequired[str]


class DownloadUri(TypedDict):
    artifact_uri: str


def version(found: ModelVersion) -> VersionFields:
    fields: VersionFields = {
        "name": found.name,
        "version": str(found.version),
        "creation_timestamp": found.creation_timestamp,
        "last_updated_timestamp": found.last_updated_timestamp,
        "current_stage": found.stage,
        "description": found.description,
        "source": found.source,
        "run_id": found.run_id or "",
        # A version is there once it is created; nothing of it is made later.
        "status": "READY",
        "run_link": found.run_link,
    }
    if found.tags:
        fields["tags"] = pairs(found.tags)
    if found.aliases:
        fields["aliases"] = list(found.aliases)
    if found.model_id:
        fields["model_id"] = found.model_id
    return fields


def model(found: RegisteredModel) -> ModelFields:
    fields: ModelFields = {
        "name": found.name,
        "creation_timestamp": found.creation_timestamp,
        "last_updated_timestamp": found.last_updated_timestamp,
    }
    if found.description:
        fields["description"] = found.description
    if found.latest_versions:
        fields["latest_versions"] = [version(each) for each in found.latest_versions]
    if found.tags:
        fields["tags"] = pairs(found.tags)
    if found.aliases:
        fields["aliases"] = [{"alias": alias, "version": str(of)} for alias, of in found.aliases.items()]
    return fields


def one_model(found: RegisteredModel) -> OneModel:
    return {"registered_model": model(found)}


def one_version(found: ModelVersion) -> OneVersion:
    return {"model_version": version(found)}


def some_models(page: Page[RegisteredModel]) -> SomeModels:
    answer: SomeModels = {}
    if page.items:
        answer["registered_models"] = [model(each) for each in page.items]
    if page.next_token:
        answer["next_page_token"] = page.next_token
    return answer


def some_versions(found: Sequence[ModelVersion], next_token: str | None = None) -> SomeVersions:
    answer: SomeVersions = {}
    if found:
        answer["model_versions"] = [version(each) for each in found]
    if next_token:
        answer["next_page_token"] = next_token
    return answer
