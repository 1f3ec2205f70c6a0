"""Searching runs and experiments: a filter and an order become one query over indexed tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import case, exists, func, literal, select

from prefect_ml.entities import Experiment, LifecycleStage, Page, Run, ViewType
from prefect_ml.query import EXPERIMENTS, RUNS, Comparison, Grammar, OrderBy, parse_filter, parse_order_by
from prefect_ml.store.compare import compare, compare_indexed, one_of
from prefect_ml.store.experiments import experiment_numbers, load_experiments
from prefect_ml.store.keyset import Term, fetch_page, missing_last
from prefect_ml.store.load import load_runs
from prefect_ml.store.names import check_text
from prefect_ml.store.paging import check_page_size
from prefect_ml.store.rows import Rows
from prefect_ml.store.tables import experiment_tags, experiments, latest_metrics, metric_keys, params, runs, tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Dialect, Select

Attributes = dict[str, tuple["ColumnElement[Any]", type]]

_RUN_ATTRIBUTES: Attributes = {
    "run_id": (runs.c.run_id, str),
    "run_name": (runs.c.name, str),
    "status": (runs.c.status, str),
    "user_id": (runs.c.user_id, str),
    "artifact_uri": (runs.c.artifact_uri, str),
    "start_time": (runs.c.start_time, int),
    "end_time": (runs.c.end_time, int),
}
_EXPERIMENT_ATTRIBUTES: Attributes = {
    "name": (experiments.c.name, str),
    "experiment_id": (experiments.c.id, int),
    "creation_time": (experiments.c.creation_time, int),
    "last_update_time": (experiments.c.last_update_time, int),
}
_NEWEST_RUNS = [Term(runs.c.start_time, int, descending=True), Term(runs.c.run_id, str)]
_NEWEST_EXPERIMENTS = [Term(experiments.c.creation_time, int, descending=True), Term(experiments.c.id, int)]
_PAIRS = {"param": params, "tag": tags}


class SearchRows(Rows):
    def search_runs(  # noqa: PLR0917  the contract's
        self,
        experiment_ids: Sequence[str],
        filter: str = "",
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Run]:
        check_page_size(max_results)
        comparisons, order = _parsed(filter, order_by, RUNS)
        numbers = experiment_numbers(experiment_ids)
        if not numbers:
            return Page([])
        search = ("runs", sorted(numbers), comparisons, order, ViewType(view_type))
        with self.database.read() as connection:
            query = select(runs).select_from(runs).where(one_of(runs.c.experiment, numbers))
            query = query.where(*_in_view(runs.c.lifecycle_stage, view_type))
            query = query.where(*(_run_condition(connection.dialect, each) for each in comparisons))
            query, terms = _run_order(query, order)
            rows, token = fetch_page(
                connection, query, terms, search=search, max_results=max_results, page_token=page_token
            )
            return Page(load_runs(connection, rows), token)

    def search_experiments(
        self,
        filter: str = "",
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Experiment]:
        comparisons, order = _parsed(filter, order_by, EXPERIMENTS)
        search = ("experiments", comparisons, order, ViewType(view_type))
        terms = [Term(*_EXPERIMENT_ATTRIBUTES[key.key], descending=not key.ascending) for key in order]
        # Ties are broken by id when an order is given.
        terms += _NEWEST_EXPERIMENTS[1:] if order else _NEWEST_EXPERIMENTS
        with self.database.read() as connection:
            query = select(experiments).where(*_in_view(experiments.c.lifecycle_stage, view_type))
            query = query.where(*(_experiment_condition(connection.dialect, each) for each in comparisons))
            rows, token = fetch_page(
                connection, query, terms, search=search, max_results=max_results, page_token=page_token
            )
            return Page(load_experiments(connection, rows, self.artifact_root), token)


def _parsed(
    filter: str, order_by: Sequence[str], grammar: Grammar
) -> tuple[tuple[Comparison, ...], tuple[OrderBy, ...]]:
    comparisons, order = parse_filter(filter, grammar), parse_order_by(order_by, grammar)
    for key in [*(given.key for given in comparisons), *(given.key for given in order)]:
        check_text("A key in a search", key)
    return comparisons, order


def _in_view(stage: ColumnElement[Any], view_type: ViewType) -> list[ColumnElement[bool]]:
    stages = {
        ViewType.ACTIVE_ONLY: [stage == LifecycleStage.ACTIVE],
        ViewType.DELETED_ONLY: [stage == LifecycleStage.DELETED],
        ViewType.ALL: [],
    }
    return stages[ViewType(view_type)]


def _run_condition(dialect: Dialect, given: Comparison) -> ColumnElement[bool]:
    """What a comparison asks of a run; one on a key that the run lacks does not hold."""
    if given.entity == "attribute":
        return compare(dialect, _RUN_ATTRIBUTES[given.key][0], given.operator, given.value)
    if given.entity == "metric":
        latest = latest_metrics.c
        above = compare(dialect, latest.value, given.operator, given.value)
        number = select(metric_keys.c.id).where(metric_keys.c.name == given.key).scalar_subquery()
        return exists().where(latest.run == runs.c.id, latest.key == number, latest.is_nan.is_(False), above)
    pairs = _PAIRS[given.entity].c
    holds = compare_indexed(dialect, pairs.value, given.operator, given.value)
    return exists().where(pairs.run == runs.c.id, pairs.key == given.key, holds)


def _experiment_condition(dialect: Dialect, given: Comparison) -> ColumnElement[bool]:
    if given.entity == "attribute":
        return compare(dialect, _EXPERIMENT_ATTRIBUTES[given.key][0], given.operator, given.value)
    of_tag = experiment_tags.c
    holds = compare(dialect, of_tag.value, given.operator, given.value)
    return exists().where(of_tag.experiment == experiments.c.id, of_tag.key == given.key, holds)


def _run_order(query: Select[Any], order: Sequence[OrderBy]) -> tuple[Select[Any], list[Term]]:
    """The query joined with what it is ordered by, and the terms; the newest run is first among equals."""
    terms: list[Term] = []
    for number, given in enumerate(order):
        if given.entity == "attribute":
            terms += _attribute_terms(*_RUN_ATTRIBUTES[given.key], descending=not given.ascending)
        elif given.entity == "metric":
            query, added = _metric_terms(query, given, f"metric_{number}")
            terms += added
        else:
            pairs = _PAIRS[given.entity].alias(f"pair_{number}")
            query = query.outerjoin(pairs, (pairs.c.run == runs.c.id) & (pairs.c.key == given.key))
            terms += missing_last(pairs.c.value, str, descending=not given.ascending)
    return query, terms + _NEWEST_RUNS


def _attribute_terms(column: ColumnElement[Any], kind: type, *, descending: bool) -> list[Term]:
    nullable = getattr(column, "nullable", False)
    return missing_last(column, kind, descending=descending) if nullable else [Term(column, kind, descending)]


def _metric_terms(query: Select[Any], given: OrderBy, name: str) -> tuple[Select[Any], list[Term]]:
    """Numbers come first, then NaN, then runs without the metric, in either direction."""
    latest = latest_metrics.alias(name)
    number = select(metric_keys.c.id).where(metric_keys.c.name == given.key).scalar_subquery()
    query = query.outerjoin(latest, (latest.c.run == runs.c.id) & (latest.c.key == number))
    rank = case((latest.c.value.is_(None), 2), (latest.c.is_nan, 1), else_=0)
    value = func.coalesce(latest.c.value, literal(0.0, latest.c.value.type))
    return query, [Term(rank, int), Term(value, float, descending=not given.ascending)]
