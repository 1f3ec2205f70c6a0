"""Searching logged models; conditions on metrics look at what was measured on given data sets, or at everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, cast, exists, func, literal, or_, select

from prefect_ml.entities import LifecycleStage, LoggedModel, LoggedModelOrder, LoggedModelStatus, Page
from prefect_ml.errors import InvalidFilterError, InvalidInputError
from prefect_ml.query import LOGGED_MODELS, Comparison, parse_filter
from prefect_ml.store.compare import MAX_LIST, compare, compare_indexed, one_of
from prefect_ml.store.experiments import experiment_numbers
from prefect_ml.store.keyset import Part, Term, fetch_page
from prefect_ml.store.logged_model_load import load_logged_models
from prefect_ml.store.logged_model_tables import (
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
)
from prefect_ml.store.logged_model_token import bind_token, unbind_token
from prefect_ml.store.names import check_text
from prefect_ml.store.rows import Rows
from prefect_ml.store.tables import Words, metric_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Dialect, Select

Datasets = tuple[tuple[str, str], ...]

_ATTRIBUTES: dict[str, tuple[ColumnElement[Any], type]] = {
    "model_id": (logged_models.c.model_id, str),
    "name": (logged_models.c.name, str),
    "model_type": (logged_models.c.model_type, str),
    "status": (logged_models.c.status, str),
    "source_run_id": (logged_models.c.source_run_id, str),
    "experiment_id": (cast(logged_models.c.experiment, Words), str),
    "artifact_location": (logged_models.c.artifact_uri, str),
    "creation_timestamp": (logged_models.c.creation_timestamp, int),
    "last_updated_timestamp": (logged_models.c.last_updated_timestamp, int),
}
_PAIRS = {"param": logged_model_params, "tag": logged_model_tags}
_NEWEST = (
    Term(logged_models.c.creation_timestamp, int, descending=True),
    Term(logged_models.c.model_id, str, descending=True),
)
_STATUS = "LOGGED_MODEL_"


class LoggedModelSearchRows(Rows):
    def search_logged_models(  # noqa: PLR0917  the contract's
        self,
        experiment_ids: Sequence[str],
        filter: str = "",
        datasets: Sequence[tuple[str, str]] = (),
        order_by: Sequence[LoggedModelOrder] = (),
        max_results: int = 50,
        page_token: str | None = None,
    ) -> Page[LoggedModel]:
        comparisons = parse_filter(filter, LOGGED_MODELS)
        numbers = sorted(set(experiment_numbers(experiment_ids)))
        if max(len(numbers), len(datasets)) > MAX_LIST:
            raise InvalidInputError(f"A search takes at most {MAX_LIST} experiments and data sets; search in parts.")
        measured = tuple(_dataset(name, digest) for name, digest in datasets)
        order = [_ordered_by(given) for given in order_by]
        bound = (sorted(experiment_ids), (comparisons, measured), order)
        token = unbind_token(bound, page_token)
        if not numbers:
            return Page([])
        with self.database.read() as connection:
            part = Part(_matching(connection.dialect, numbers, comparisons, measured), _terms(order))
            rows, following = fetch_page(
                connection, [part], search="logged models", max_results=max_results, page_token=token
            )
            return Page(load_logged_models(connection, rows), bind_token(bound, following))


def _matching(
    dialect: Dialect, experiments: Sequence[int], comparisons: Sequence[Comparison], datasets: Datasets
) -> Select[Any]:
    query = select(logged_models).where(one_of(logged_models.c.experiment, experiments))
    query = query.where(logged_models.c.lifecycle_stage == LifecycleStage.ACTIVE)
    if datasets:
        query = query.where(_measured(_on(datasets)))
    return query.where(*(_condition(dialect, given, datasets) for given in comparisons))


def _condition(dialect: Dialect, given: Comparison, datasets: Datasets) -> ColumnElement[bool]:
    """What a comparison asks; one on a key that a model lacks does not hold, nor does one on NaN."""
    if given.entity == "attribute":
        value = (
            _status(given.value) if given.key == "status" and given.operator not in ("LIKE", "ILIKE") else given.value
        )
        return compare(dialect, _ATTRIBUTES[given.key][0], given.operator, value)
    if given.entity == "metric":
        of = logged_model_metrics.c
        # As an expression it has no index: SQLite would look at all models' values for each model.
        holds = compare(dialect, of.value + literal(0.0), given.operator, given.value)
        return _measured(of.key == _number(given.key), of.is_nan.is_(False), holds, _on(datasets))
    pairs = _PAIRS[given.entity].c
    holds = compare_indexed(dialect, pairs.value, given.operator, given.value)
    return exists().where(pairs.model == logged_models.c.id, pairs.key == given.key, holds)


def _measured(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(logged_model_metrics.c.model == logged_models.c.id, *conditions)


def _on(datasets: Datasets) -> ColumnElement[bool]:
    """That a point was measured on one of the data sets; on anything, when there are none."""
    of = logged_model_metrics.c
    each = [
        and_(of.dataset_name == name, of.dataset_digest == digest) if digest else of.dataset_name == name
        for name, digest in datasets
    ]
    return or_(*each) if each else literal(1) == literal(1)


def _terms(order: Sequence[LoggedModelOrder]) -> list[Term]:
    """What to sort by: in either direction, NaN after the numbers, then models without the metric."""
    terms: list[Term] = []
    for given in order:
        descending = not given.ascending
        if given.field_name in _ATTRIBUTES:
            terms.append(Term(*_ATTRIBUTES[given.field_name], descending))
            continue
        terms += _latest(given, descending=descending)
    known = [term.expression for term in terms]
    return terms + [term for term in _NEWEST if not any(term.expression is each for each in known)]


def _latest(given: LoggedModelOrder, *, descending: bool) -> list[Term]:
    """Terms for the latest point of a metric on all the data sets that count.

    Asked of each model by itself, which finds its few points by their key: SQLite would look for each of the models in
    a list of the latest points of all.
    """
    of = logged_model_metrics.c
    key = given.field_name.partition(".")[2]
    mine = (of.model == logged_models.c.id) & (of.key == _number(key))
    newest = (
        of.step.desc(),
        of.timestamp.desc(),
        of.value.desc(),
        of.is_nan.desc(),
        of.dataset_name,
        of.dataset_digest,
    )
    if given.dataset_name:
        mine &= of.dataset_name == given.dataset_name
    if given.dataset_digest:
        mine &= of.dataset_digest == given.dataset_digest

    def first(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return select(column).where(mine).order_by(*newest).limit(1).correlate(logged_models).scalar_subquery()

    rank = func.coalesce(first(case((of.is_nan, 1), else_=0)), 2)
    value = func.coalesce(first(of.value), literal(0.0, of.value.type))
    return [Term(rank, int), Term(value, float, descending)]


def _number(key: str) -> ColumnElement[int]:
    return select(metric_keys.c.id).where(metric_keys.c.name == key).scalar_subquery()


def _dataset(name: str, digest: str) -> tuple[str, str]:
    if not name:
        raise InvalidInputError("`dataset_name` in the `datasets` clause must be specified.")
    return check_text("The name of a data set", name), check_text("The digest of a data set", digest)


def _ordered_by(given: LoggedModelOrder) -> LoggedModelOrder:
    """A sort key with its field as it is looked up here: an attribute's own name, or `metrics.` and a key."""
    field = check_text("A field to order by", given.field_name)
    check_text("The name of a data set", given.dataset_name)
    check_text("The digest of a data set", given.dataset_digest)
    name = LOGGED_MODELS.aliases.get(field, field)
    if name in LOGGED_MODELS.sortable:
        return LoggedModelOrder(name, given.ascending)
    entity, dot, key = field.partition(".")
    if not dot or not key:
        valid = sorted(LOGGED_MODELS.sortable)
        raise InvalidFilterError(f"Invalid order by field name: {field}. Give metrics.<name> or one of {valid}.")
    if entity not in ("metric", "metrics"):
        raise InvalidFilterError(
            f"Invalid order by field name: {field}. Only metrics are supported besides attributes."
        )
    return LoggedModelOrder(f"metrics.{key.strip('`')}", given.ascending, given.dataset_name, given.dataset_digest)


def _status(value: Any) -> Any:
    """A status by its whole name, also when its short one was given."""
    if isinstance(value, tuple):
        return tuple(_status(each) for each in value)
    whole = f"{_STATUS}{value}"
    return whole if whole in set(LoggedModelStatus) else value
