"""Searching registered models and their versions; prompts are found only by who asks for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import DOUBLE_PRECISION, cast, exists, select

from prefect_ml.entities import ModelVersion, Page, RegisteredModel
from prefect_ml.query import MODEL_VERSIONS, REGISTERED_MODELS, Comparison, OrderBy, parse_filter, parse_order_by
from prefect_ml.store.compare import compare
from prefect_ml.store.keyset import Part, Term, fetch_page
from prefect_ml.store.prompts import PROMPT_TAG
from prefect_ml.store.registry_load import load_models, load_versions, select_versions
from prefect_ml.store.registry_tables import (
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)
from prefect_ml.store.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import ColumnElement, Dialect

MAX_MODELS = 1000
MAX_VERSIONS = 200_000

Attributes = dict[str, tuple["ColumnElement[Any]", type]]

_MODEL_ATTRIBUTES: Attributes = {
    "name": (registered_models.c.name, str),
    "last_updated_timestamp": (registered_models.c.last_updated_timestamp, int),
}
_VERSION_ATTRIBUTES: Attributes = {
    "name": (registered_models.c.name, str),
    "version_number": (model_versions.c.version, int),
    "run_id": (model_versions.c.run_id, str),
    "source_path": (model_versions.c.source, str),
    "creation_timestamp": (model_versions.c.creation_timestamp, int),
    "last_updated_timestamp": (model_versions.c.last_updated_timestamp, int),
}
_BY_NAME = [Term(registered_models.c.name, str)]
_NEWEST = [
    Term(model_versions.c.last_updated_timestamp, int, descending=True),
    Term(registered_models.c.name, str),
    Term(model_versions.c.version, int, descending=True),
]


class RegistrySearchRows(Rows):
    def search_registered_models(
        self,
        filter: str = "",
        order_by: Sequence[str] = (),
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[RegisteredModel]:
        """By name unless an order is given; at most 1,000 a page."""
        comparisons = parse_filter(filter, REGISTERED_MODELS)
        order = parse_order_by(order_by, REGISTERED_MODELS)
        with self.database.read() as connection:
            conditions = _conditions(connection.dialect, comparisons, _MODEL_ATTRIBUTES, _model_tag)
            rows, token = fetch_page(
                connection,
                [Part(select(registered_models).where(*conditions), _terms(order, _MODEL_ATTRIBUTES, _BY_NAME))],
                search=("registered models", comparisons, order),
                max_results=max_results,
                page_token=page_token,
                limit=MAX_MODELS,
            )
            return Page(load_models(connection, rows), token)

    def search_model_versions(
        self,
        filter: str = "",
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[ModelVersion]:
        """The last updated first unless an order is given; at most 200,000 a page."""
        comparisons = parse_filter(filter, MODEL_VERSIONS)
        order = parse_order_by(order_by, MODEL_VERSIONS)
        with self.database.read() as connection:
            conditions = _conditions(connection.dialect, comparisons, _VERSION_ATTRIBUTES, _version_tag)
            rows, token = fetch_page(
                connection,
                [Part(select_versions().where(*conditions), _terms(order, _VERSION_ATTRIBUTES, _NEWEST))],
                search=("model versions", comparisons, order),
                max_results=max_results,
                page_token=page_token,
                limit=MAX_VERSIONS,
            )
            return Page(load_versions(connection, rows), token)


def _conditions(
    dialect: Dialect,
    comparisons: Iterable[Comparison],
    attributes: Attributes,
    tagged: Callable[[Callable[[Any, Any], ColumnElement[bool]]], ColumnElement[bool]],
) -> list[ColumnElement[bool]]:
    """What the comparisons ask; a comparison with a tag that is not there does not hold."""
    found = []
    for given in comparisons:
        if given.entity == "attribute":
            found.append(_attribute(dialect, attributes[given.key][0], given))
        elif given.key == PROMPT_TAG and given.operator == "!=":
            # MLflow's client asks for models, which have no such tag, by this comparison.
            found.append(~tagged(_tag_holds(dialect, replace(given, operator="="))))
        else:
            found.append(tagged(_tag_holds(dialect, given)))
    if not any(given.entity == "tag" and given.key == PROMPT_TAG for given in comparisons):
        found.append(~tagged(lambda key, value: (key == PROMPT_TAG) & (value == "true")))
    return found


def _attribute(dialect: Dialect, column: ColumnElement[Any], given: Comparison) -> ColumnElement[bool]:
    # Compared as an integer, PostgreSQL would round 1.5 to 2.
    fraction = isinstance(given.value, float)
    return compare(dialect, cast(column, DOUBLE_PRECISION) if fraction else column, given.operator, given.value)


def _tag_holds(dialect: Dialect, given: Comparison) -> Callable[[Any, Any], ColumnElement[bool]]:
    return lambda key, value: (key == given.key) & compare(dialect, value, given.operator, given.value)


def _model_tag(holds: Callable[[Any, Any], ColumnElement[bool]]) -> ColumnElement[bool]:
    tags = registered_model_tags.c
    return exists().where(tags.model == registered_models.c.id, holds(tags.key, tags.value))


def _version_tag(holds: Callable[[Any, Any], ColumnElement[bool]]) -> ColumnElement[bool]:
    tags = model_version_tags.c
    same = (tags.model == model_versions.c.model) & (tags.version == model_versions.c.version)
    return exists().where(same, holds(tags.key, tags.value))


def _terms(order: Sequence[OrderBy], attributes: Attributes, ties: list[Term]) -> list[Term]:
    return [Term(*attributes[key.key], descending=not key.ascending) for key in order] + ties
