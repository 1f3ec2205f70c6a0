"""Searching runs and experiments: a filter and an order become one query over indexed tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import cast, exists, select

from prefect_ml.entities import Experiment, Page, Run, ViewType
from prefect_ml.errors import InvalidInputError
from prefect_ml.query import EXPERIMENTS, RUNS, Comparison, Grammar, OrderBy, parse_filter, parse_order_by
from prefect_ml.store.compare import MAX_LIST, compare, in_view
from prefect_ml.store.experiments import experiment_numbers, load_experiments
from prefect_ml.store.keyset import Part, Term, fetch_page
from prefect_ml.store.load import load_runs
from prefect_ml.store.names import check_text
from prefect_ml.store.paging import check_page_size
from prefect_ml.store.rows import Rows
from prefect_ml.store.run_query import run_parts
from prefect_ml.store.tables import Words, experiment_tags, experiments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Dialect

_EXPERIMENT_ATTRIBUTES: dict[str, tuple[ColumnElement[Any], type]] = {
    "name": (experiments.c.name, str),
    "experiment_id": (experiments.c.id, int),
    "creation_time": (experiments.c.creation_time, int),
    "last_update_time": (experiments.c.last_update_time, int),
}
_NEWEST_EXPERIMENTS = [Term(experiments.c.creation_time, int, descending=True), Term(experiments.c.id, int)]


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
        if len(numbers) > MAX_LIST:
            raise InvalidInputError(
                f"A search takes at most {MAX_LIST} experiments, got {len(numbers)}; search in parts."
            )
        search = ("runs", sorted(numbers), comparisons, order, ViewType(view_type))
        with self.database.read() as connection:
            parts = run_parts(connection, numbers, ViewType(view_type), comparisons, order)
            rows, token = fetch_page(connection, parts, search=search, max_results=max_results, page_token=page_token)
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
            query = select(experiments).where(*in_view(experiments.c.lifecycle_stage, view_type))
            query = query.where(*(_experiment_condition(connection.dialect, each) for each in comparisons))
            rows, token = fetch_page(
                connection, [Part(query, terms)], search=search, max_results=max_results, page_token=page_token
            )
            return Page(load_experiments(connection, rows, self.artifact_root), token)


def _parsed(
    filter: str, order_by: Sequence[str], grammar: Grammar
) -> tuple[tuple[Comparison, ...], tuple[OrderBy, ...]]:
    comparisons, order = parse_filter(filter, grammar), parse_order_by(order_by, grammar)
    for key in [*(given.key for given in comparisons), *(given.key for given in order)]:
        check_text("A key in a search", key)
    return comparisons, order


def _experiment_condition(dialect: Dialect, given: Comparison) -> ColumnElement[bool]:
    if given.entity == "attribute" and given.key == "experiment_id":
        return compare(dialect, cast(experiments.c.id, Words), given.operator, given.value)
    if given.entity == "attribute":
        return compare(dialect, _EXPERIMENT_ATTRIBUTES[given.key][0], given.operator, given.value)
    of_tag = experiment_tags.c
    holds = compare(dialect, of_tag.value, given.operator, given.value)
    return exists().where(of_tag.experiment == experiments.c.id, of_tag.key == given.key, holds)
